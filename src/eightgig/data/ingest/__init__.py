"""From files to a manifest: folders, what is wrong with each file, splits, and the journal of an inspection."""
