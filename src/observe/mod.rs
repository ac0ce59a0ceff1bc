//! What the outside can see of a running mirror: its log.

mod logging;

pub use logging::init_logging;
