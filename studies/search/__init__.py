"""Search studies: one joint space, one task, the best configuration by validation; never evidence."""
