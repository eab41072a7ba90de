package injector

import "fmt"

// SetModels gives the faults of a rule new settings.
func (i *Injector) SetModels(rule int, models []NamedModel) error {
	return fmt.Errorf("%w: the settings of a fault cannot be changed yet", ErrConfig)
}

// Pause stops judging packets until Resume.
func (i *Injector) Pause() error { return fmt.Errorf("%w: a run cannot be paused yet", ErrConfig) }

// Resume judges packets again.
func (i *Injector) Resume() error { return nil }
