//! What no run may do to a budget.
