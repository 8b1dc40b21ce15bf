"""What is shown afterwards: one page to look at, tables for shop systems, statements of money. Only looks."""
