//! chaos proven from outside.
