//! Plugins written as WebAssembly text, for what no honest compiler makes.
