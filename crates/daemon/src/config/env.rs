//! The layer of environment variables.

use std::ffi::OsString;

use super::report::{Origin, Problem};
use super::split_key;
use super::tree::Node;

/// Merges the variables that start with `prefix`, in the order of their names, so that the result does not depend on
/// the order of the environment.
pub(super) fn merge(
    tree: &mut Node,
    prefix: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) {
    let mut variables: Vec<(String, OsString)> = environment
        .into_iter()
        // A name that is not UTF-8 cannot start with the prefix and name a key.
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(prefix))
        .collect();
    variables.sort();

    for (name, value) in variables {
        let key = name.strip_prefix(prefix).unwrap_or_default().to_lowercase();
        let dotted = key.replace("__", ".");
        let origin = Origin::Environment(name);
        let parts = match split_key(key.split("__")) {
            Ok(parts) => parts,
            Err(message) => {
                problems.push(Problem::new(dotted, origin, message));
                continue;
            }
        };
        match value.into_string() {
            Ok(text) => tree.merge(Node::from_text(&text, &parts, &origin)),
            Err(_) => problems.push(Problem::new(dotted, origin, "is not valid UTF-8")),
        }
    }
}
