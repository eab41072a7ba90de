package place

import (
	"errors"
	"os"
	"syscall"

	"github.com/faultctl/faultctl/injector"
)

// plain says in words what an error of the operating system means, where there
// is a better word than its own, and leaves the path out.
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

// noPath leaves out what os puts before an error: the path is said already.
// Unlike plain it takes a file that may not be read or written for what it is,
// not for a lack of capabilities.
func noPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
