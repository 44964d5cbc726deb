//! Applies the database migrations on deploy (a CloudFormation custom resource).

fn main() {}
