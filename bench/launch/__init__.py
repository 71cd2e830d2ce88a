"""Running a plan: one stage in this process (task), a warm pool on this machine (local)."""
