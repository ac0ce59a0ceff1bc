//! Composer repositories of others, as their client: every form that Composer reads (`ComposerRepository.php`), without a solver.
//!
//! [`ComposerRepository::open`] reads packages.json. Then it is asked for the names that it lists, for the versions of a name, and
//! for archives, from several threads if need be. What the form gives package by package is asked for package by package.
//!
//! | file | has |
//! |---|---|
//! | `root` | the keys of packages.json |
//! | `packages` | versions as they are listed, by name |
//! | `version` | one version with its archive |
//! | `address` | the URL of the repository, and what its texts are relative to |
//! | `transport` | requests: credentials, limits, conditional requests |
//! | `cache` | the answers that are kept for them |
//! | `changes` | the feed of changed packages |
//! | `filter_lists` | what is flagged beside the files of packages |
//! | `weight` | how much memory JSON needs |

mod address;
mod cache;
mod changes;
mod filter_lists;
mod packages;
mod repository;
mod root;
mod transport;
mod version;
mod weight;

pub use filter_lists::FilterLists;
pub use packages::FilterEntry;
pub use repository::ComposerRepository;
pub use transport::{Access, Downloaded};
pub use version::{Dist, RemoteVersion, Versions};

/// How many requests a repository may be asked at once; Packagist's rules allow ten.
pub const MAX_REQUESTS: usize = 10;
