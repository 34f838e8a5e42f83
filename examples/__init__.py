"""Programs that embed edgeproxy, to start from: a script, asyncio, a window."""
