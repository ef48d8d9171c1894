"""The orchestration: order and policy only. The steps live in tasks."""
