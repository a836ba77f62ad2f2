//! Table tests of the decision, what compiling finds, and properties over random policies and facts.

mod compile;
mod decisions;
mod health;
mod properties;
mod schema;
mod walk;

use std::sync::Arc;

use crate::*;

/// Reads a policy document.
fn document(yaml: &str) -> PolicyDocument {
    marked_yaml::from_yaml(0, yaml).expect("a policy document")
}

/// Compiles a policy that has no errors.
fn policy(yaml: &str) -> Policy {
    let compiled = Policy::compile(&document(yaml));
    compiled.unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn profile(id: &str, locality: Locality) -> Arc<TargetProfile> {
    Arc::new(TargetProfile::new(TargetId::new(id).unwrap(), locality))
}
