"""A mailbox sorter: ten topics, an adapter and a head for each, on one encoder."""
