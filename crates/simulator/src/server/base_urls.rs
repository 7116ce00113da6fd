//! Where the simulated APIs are, and the environment variables that say so to the product.

use std::net::SocketAddr;

/// The base URLs of the simulated APIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrls {
    /// Replaces each::labs's `https://api.eachlabs.ai/v1`.
    pub eachlabs: String,
    /// Replaces AI/ML API's `https://api.aimlapi.com`.
    pub aimlapi: String,
    /// Replaces fal.ai's queue, `https://queue.fal.run`.
    pub fal_queue: String,
    /// Replaces fal.ai's platform, `https://api.fal.ai/v1`.
    pub fal_api: String,
    /// Replaces fal.ai's storage, `https://rest.fal.ai`.
    pub fal_storage: String,
}

impl BaseUrls {
    /// Returns the base URLs of a simulator with this address.
    pub(super) fn new(address: SocketAddr) -> Self {
        let base = format!("http://{address}");
        Self {
            eachlabs: format!("{base}/v1"),
            aimlapi: base.clone(),
            fal_api: format!("{base}/v1"),
            fal_storage: base.clone(),
            fal_queue: base,
        }
    }

    /// Returns the environment variables, with their values, that point Overnight here. They
    /// include keys.
    pub fn environment(self) -> [(&'static str, String); 8] {
        [
            ("OVERNIGHT_EACHLABS_URL", self.eachlabs),
            ("OVERNIGHT_AIMLAPI_URL", self.aimlapi),
            ("OVERNIGHT_FAL_QUEUE_URL", self.fal_queue),
            ("OVERNIGHT_FAL_API_URL", self.fal_api),
            ("OVERNIGHT_FAL_STORAGE_URL", self.fal_storage),
            ("EACHLABS_API_KEY", "simulated-eachlabs-key".into()),
            ("AIML_API_KEY", "simulated-aimlapi-key".into()),
            ("FAL_KEY", "simulated:fal-key".into()),
        ]
    }
}
