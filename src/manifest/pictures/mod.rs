//! The pictures that cells name: links, as sheets hold them, and files.

pub(in crate::manifest) mod choice;
pub(in crate::manifest) mod images;
pub(in crate::manifest) mod link_form;
pub(in crate::manifest) mod links;
pub(in crate::manifest) mod odd_link;
pub(in crate::manifest) mod read_link;
