"""What every room may use: errors, records, units, seeding, device, progress, the tracker's Protocol."""
