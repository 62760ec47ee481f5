//! Placeholder; its prose comes with its code.
