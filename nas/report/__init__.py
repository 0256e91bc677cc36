"""What people look at: pages, tables, drawings."""
