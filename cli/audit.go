package cli

import (
	"log/syslog"
	"sync"
)

// auditLog writes to the host's log who did what (journald, or another syslog). It is
// connected when the first line is written, before any right is given up.
type auditLog struct {
	once sync.Once
	log  *syslog.Writer
	err  error
}

// write writes a line. It returns why it could not.
func (a *auditLog) write(line string) error {
	a.once.Do(func() { a.log, a.err = syslog.New(syslog.LOG_AUTHPRIV|syslog.LOG_NOTICE, "faultctl") })
	if a.err != nil {
		return a.err
	}
	return a.log.Notice(line)
}
