"""The rate limits of an account: one queue for all that use it, as fast as its quotas allow, and no rejections."""
