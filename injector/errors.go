package injector

import "errors"

// Errors that a caller may want to tell apart, with errors.Is.
var (
	ErrConfig       = errors.New("bad configuration")
	ErrPermission   = errors.New("permission denied")
	ErrNotSupported = errors.New("not supported by this kernel")
	ErrNoNamespace  = errors.New("no such network namespace")
)
