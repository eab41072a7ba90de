// Package kerror names the kernel errors that callers of the injector tell apart.
// Package injector exports them under the same names.
package kerror

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors to tell apart with errors.Is.
var (
	ErrConfig       = errors.New("bad configuration")
	ErrPermission   = errors.New("permission denied")
	ErrNotSupported = errors.New("not supported by this kernel")
	ErrNoNamespace  = errors.New("no such network namespace")
)

// Deniedf returns an ErrPermission with a text of its own, which says what is not
// permitted.
func Deniedf(format string, args ...any) error { return deniedError{fmt.Errorf(format, args...)} }

type deniedError struct{ error }

func (e deniedError) Unwrap() error        { return e.error }
func (e deniedError) Is(target error) bool { return target == ErrPermission }

// Configf returns an ErrConfig with a text of its own, which says what is wrong.
func Configf(format string, args ...any) error { return configError{fmt.Errorf(format, args...)} }

type configError struct{ error }

func (e configError) Unwrap() error        { return e.error }
func (e configError) Is(target error) bool { return target == ErrConfig }

// Explain turns the kernel's errno into one of the errors above if it is one of them,
// and keeps the original for errors.Is. Nil stays nil.
func Explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w (%w)", ErrPermission, err)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EPROTONOSUPPORT),
		errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("%w (%w)", ErrNotSupported, err)
	}
	return err
}
