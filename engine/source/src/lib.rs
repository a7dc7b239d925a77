//! Tables of other systems, read and never written.
