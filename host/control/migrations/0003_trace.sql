-- The identity (W3C Trace Context) of what last raised the version, for whoever publishes that. Empty: nobody records it.
ALTER TABLE regions ADD COLUMN traceparent text NOT NULL DEFAULT '';
