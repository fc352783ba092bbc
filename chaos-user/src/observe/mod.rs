//! Step 6, what happened: counters in, report and verdict out. No effects.
