//! Properties that hold for any input. The fuzz targets check them, and so does the test suite,
//! with the seeds in `corpus/`.

pub mod manifests;
pub mod mp4;
pub mod responses;
pub mod workbooks;
