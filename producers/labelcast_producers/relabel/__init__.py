"""Teacher over seeded views → dense labels, in bounded memory."""
