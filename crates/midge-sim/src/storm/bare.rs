//! A connection of the core alone.
