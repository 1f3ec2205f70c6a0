"""What the servers share: the gate that every request passes, and how a request is refused."""
