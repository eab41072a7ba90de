package place

import (
	"errors"
	"os"
	"syscall"

	"github.com/faultctl/faultctl/injector"
)

// plain puts some errors of the operating system into clearer words, and
// removes the path.
func plain(err error) error {
	var p *os.PathError
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return injector.ErrPermission
	case errors.As(err, &p):
		return p.Err
	}
	return err
}

// noPath removes the operation and path that os adds to an error, because the
// message has the path already. Unlike plain it takes a permission error as
// one about the file, not about capabilities.
func noPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
