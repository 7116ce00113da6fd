//! What must hold of any input. The fuzz targets call it, and so does the suite, with the seeds in `corpus/`.

pub mod answers;
pub mod manifests;
pub mod mp4;
