package plugin

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/version"
	"github.com/faultctl/faultctl/kubernetes/cluster"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
)

// Words of a run that make no sense here: the pod is the place, and its container
// writes no files.
var elsewhere = []string{"netns", "pid", "container", "cgroup"}

// value is a flag whose text is read later, so that errors are the core's.
type value struct {
	placeholder string
	all         []string
	many        bool
}

func (v *value) String() string { return strings.Join(v.all, " ") }
func (v *value) Type() string   { return v.placeholder }
func (v *value) Set(s string) error {
	if !v.many {
		v.all = nil
	}
	v.all = append(v.all, s)
	return nil
}

// addWords adds the words of a run to a command's flags.
func addWords(fs *pflag.FlagSet) {
	for _, w := range experiment.Words {
		if w.Group != experiment.OfTarget && w.Group != experiment.OfRun || slices.Contains(elsewhere, w.Name) {
			continue
		}
		help := w.Help
		switch w.Name {
		case "to":
			help = "the service end: svc/NAME[:PORT], :5432, 10.0.0.5:80,443; ! excludes; repeatable"
		case "percent":
			help = "this share of the connections, the same in each pod; seeded and sticky; with /D drawn anew each time that D has passed"
		case "first", "skip", "every", "max-connections":
			help += ", counted in each pod"
		}
		f := &pflag.Flag{Name: w.Name, Usage: help, Value: &value{placeholder: w.Placeholder, many: w.Kind == experiment.Many}}
		if w.Kind == experiment.Switch {
			f.NoOptDefVal = "true"
		}
		fs.AddFlag(f)
	}
}

// addKnobs adds the settings of a fault, but those whose names kubectl has taken.
func addKnobs(fs, kubectl *pflag.FlagSet, k faults.Kind) {
	for _, knob := range faults.Knobs(k.New()) {
		if kubectl.Lookup(knob.Name) != nil || fs.Lookup(knob.Name) != nil {
			continue
		}
		f := &pflag.Flag{Name: knob.Name, Usage: knob.Help, Value: &value{placeholder: knob.Type}}
		if knob.Type == "bool" {
			f.NoOptDefVal = "true"
		} else if knob.Default != "" && knob.Default != "0" && knob.Default != "0s" && knob.Default != "0%" {
			f.Usage += " (default " + knob.Default + ")"
		}
		fs.AddFlag(f)
	}
}

// faultIn is the first FAULT of a command line; nil if there is none.
func faultIn(args []string) *faults.Kind {
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			continue
		}
		if kind, err := faults.Find(a[:strings.IndexAny(a+":", ":,")]); err == nil {
			return &kind
		}
	}
	return nil
}

// readSpec reads the FAULTs and flags of a command into a run, without those --to that
// name services: these are returned.
func readSpec(c *cobra.Command, names []string) (s experiment.Spec, services []string, err error) {
	var problems event.Problems
	keep := func(err error) {
		switch e := err.(type) {
		case nil:
		case event.Problems:
			problems = append(problems, e...)
		case *event.Error:
			problems = append(problems, e)
		default:
			problems = append(problems, event.Usagef("", "%w", err))
		}
	}
	for _, name := range names {
		specs, err := faults.ParseSpecs(name)
		if err != nil {
			keep(event.Usagef("", "%w", err).WithAdvice("There are " + strings.Join(faults.Names(), ", ") + "; faultctl faults NAME explains one."))
			continue
		}
		s.Faults = append(s.Faults, specs...)
	}
	if len(s.Faults) > 0 {
		if kind, err := faults.Find(s.Faults[0].Name); err == nil {
			for _, knob := range faults.Knobs(kind.New()) {
				if f := c.LocalNonPersistentFlags().Lookup(knob.Name); f != nil && f.Changed {
					s.Faults[0].Knobs = append(s.Faults[0].Knobs, [2]string{knob.Name, f.Value.String()})
				}
			}
		}
	}
	for _, w := range experiment.Words {
		f := c.LocalNonPersistentFlags().Lookup(w.Name)
		if f == nil || !f.Changed {
			continue
		}
		v, is := f.Value.(*value)
		if !is {
			continue
		}
		all := v.all
		if w.Name == "to" {
			all = slices.DeleteFunc(slices.Clone(all), func(text string) bool {
				if _, _, is := cluster.ParseService(text); is {
					services = append(services, text)
					return true
				}
				return false
			})
			if len(all) == 0 {
				continue
			}
		}
		keep(s.Set(w.Name, all...))
	}
	if len(problems) == 0 {
		problems = s.Validate()
	}
	if len(problems) == 0 && len(services) == 0 && len(s.Target.To) == 0 && len(s.Target.From) == 0 {
		keep(event.Refusedf("", "no target: every connection of the pods would be struck, those of their probes too").
			WithAdvice("Say which: --to :5432, --to svc/db, --from 10.0.0.0/8; --to :1-65535 is every connection."))
	}
	return s, services, problems.Err()
}

// podFlags are the flags of commands that are about pods.
type podFlags struct {
	label     string
	output    string
	image     string
	pull      string
	lease     time.Duration
	wait      time.Duration
	idleExit  time.Duration
	pods      string
	print     bool
	quiet     bool
	container cluster.Container
}

// env is the value of a flag's environment variable, or else its default.
func env(flag, otherwise string) string {
	if v := os.Getenv("FAULTCTL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))); v != "" {
		return v
	}
	return otherwise
}

// addSelection adds the flags by which pods are chosen, and how results are printed.
func (f *podFlags) addSelection(fs *pflag.FlagSet) {
	fs.StringVarP(&f.label, "selector", "l", "", "the pods with these labels, such as app=api")
	fs.StringVarP(&f.output, "output", "o", "text", "how results are printed: text or json")
	fs.StringVar(&f.image, "image", env("image", "faultctl:"+version.String()), "image with /faultctl in it, as make image builds it; FAULTCTL_IMAGE says it once for all")
	fs.StringVar(&f.pull, "image-pull-policy", env("image-pull-policy", ""), "Always, IfNotPresent or Never (default: as the cluster does it)")
}

// addRun adds the flags of a run in pods.
func (f *podFlags) addRun(fs *pflag.FlagSet) {
	fs.StringVar(&f.pods, "pods", "", "strike only so many of the pods, by lot: 1, or 50%")
	fs.DurationVar(&f.lease, "lease", 20*time.Second, "how long the faults last when this process is gone or cannot reach the pods")
	fs.DurationVar(&f.wait, "wait", 60*time.Second, "how long the ephemeral container of a pod may take to begin")
	fs.DurationVar(&f.idleExit, "idle-exit", time.Hour, "the ephemeral container ends when it was not used for so long")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print no line for each connection and strike, only changes and the summary")
}

// check reads what several commands have.
func (f *podFlags) check(p *program) error {
	switch f.output {
	case "text", "":
	case "json":
		p.json = true
	default:
		return event.Usagef("output", "is neither text nor json").WithValue(f.output)
	}
	switch pull := corev1.PullPolicy(f.pull); pull {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
		f.container = cluster.Container{Image: f.image, Pull: pull, IdleExit: f.idleExit}
	default:
		return event.Usagef("image-pull-policy", "is none of Always, IfNotPresent and Never").WithValue(f.pull)
	}
	if f.lease != 0 && f.lease < 4*time.Second {
		return event.Usagef("lease", "a lease lasts 4s at least: it is renewed four times as often").WithValue(strconv.Quote(f.lease.String()))
	}
	return nil
}

// split tells the FAULTs of a command line from the objects.
func split(args []string) (names []string, objects []cluster.Object, err error) {
	for _, a := range args {
		o, is, err := cluster.ParseObject(a)
		switch {
		case err != nil:
			return nil, nil, err
		case is:
			objects = append(objects, o)
		default:
			names = append(names, a)
		}
	}
	return names, objects, nil
}
