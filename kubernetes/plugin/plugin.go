// Package plugin is the command line of kubectl faultctl. Its flags are the words of
// the core's runs and the settings of its faults, from the same tables, and those of
// kubectl.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/internal/version"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/faultctl/faultctl/kubernetes/cluster"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/klog/v2"
)

// program is a command line that is carried out.
type program struct {
	out, errs io.Writer
	kube      *genericclioptions.ConfigFlags
	json      bool
}

// Main carries out a command line, without the program's name, and returns its exit
// code.
func Main(args []string) int {
	klog.SetLogger(klog.Logger{}) // what client-go logs is told here, in our words
	ctx, cause := untilSignal(context.Background())
	p := &program{out: os.Stdout, errs: os.Stderr, kube: kubeFlags()}
	return p.run(ctx, cause, args)
}

func (p *program) run(ctx context.Context, cause func() syscall.Signal, args []string) int {
	root := p.root(args)
	err := root.ExecuteContext(ctx)
	if sig := cause(); sig != 0 && (err == nil || errors.Is(err, context.Canceled)) {
		return 128 + int(sig)
	}
	return p.report(err)
}

// quiet is an exit code of which everything has been said.
type quiet event.Code

func (q quiet) Error() string { return fmt.Sprintf("exit %d", int(q)) }

// report prints an error with its advice, and returns the exit code.
func (p *program) report(err error) int {
	if err == nil {
		return 0
	}
	if q := quiet(0); errors.As(err, &q) {
		return int(q)
	}
	var all event.Problems
	if !errors.As(err, &all) {
		var e *event.Error
		if !errors.As(err, &e) {
			e = event.Usagef("", "%w", err)
		}
		all = event.Problems{e}
	}
	if p.json {
		p.out.Write(event.Encode(now(), experiment.Report(all, flagSpelling)))
	}
	for _, e := range all {
		fmt.Fprintf(p.errs, "kubectl faultctl: %s\n", words.Foreign(e.Render(flagSpelling)))
		if e.Advice != "" {
			fmt.Fprintf(p.errs, "  %s\n", e.Advice)
		}
	}
	return int(all[0].Code)
}

// flagSpelling spells a word of a run as a flag.
func flagSpelling(f event.Field) string {
	if f == "" || f == "fault" {
		return ""
	}
	return "--" + strings.TrimPrefix(string(f), "fault.")
}

// untilSignal is a context that the first signal ends, and which signal that was; the
// second signal ends the process at once, and the leases end what it began.
func untilSignal(ctx context.Context) (context.Context, func() syscall.Signal) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := make(chan os.Signal, 2)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		first := (<-c).(syscall.Signal)
		cancel(signalled(first))
		second := (<-c).(syscall.Signal)
		fmt.Fprintln(os.Stderr, "kubectl faultctl: ended by a second signal: the faults end with their leases")
		os.Exit(128 + int(second))
	}()
	return ctx, func() syscall.Signal {
		var s signalled
		if errors.As(context.Cause(ctx), &s) {
			return syscall.Signal(s)
		}
		return 0
	}
}

type signalled syscall.Signal

func (s signalled) Error() string { return syscall.Signal(s).String() }

// kubeFlags are kubectl's own flags: those that say which cluster, namespace and user.
func kubeFlags() *genericclioptions.ConfigFlags {
	f := genericclioptions.NewConfigFlags(true)
	f.CacheDir, f.DisableCompression = nil, nil
	return f
}

// cluster is the namespace that kubectl's flags name.
func (p *program) cluster() (*cluster.Cluster, error) {
	loader := p.kube.ToRawKubeConfigLoader()
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, event.Usagef("", "%w", err)
	}
	config, err := p.kube.ToRESTConfig()
	if err != nil {
		return nil, event.Usagef("", "%w", err).WithAdvice("kubectl get pods has to work first.")
	}
	return cluster.New(config, namespace)
}

// root is the command line. A FAULT among args decides which flags there are.
func (p *program) root(args []string) *cobra.Command {
	root := &cobra.Command{
		Use: "faultctl", Short: "make the TCP connections of pods die as they do in production",
		Long: "faultctl serve runs in an ephemeral container of each pod, with the capabilities NET_ADMIN and NET_RAW and nothing else, and strikes the pod's connections. " +
			"Its leases are renewed from here: when this process is gone, however that happens, the faults end.",
		SilenceErrors: true, SilenceUsage: true, Version: version.String(),
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl faultctl"},
	}
	root.SetArgs(args)
	root.SetOut(p.out)
	root.SetErr(p.errs)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return event.Usagef("", "%s: %w", c.Name(), err).WithAdvice(c.CommandPath() + " --help lists the flags.")
	})
	p.kube.AddFlags(root.PersistentFlags())
	root.AddCommand(p.injectCommand(args), p.psCommand(), p.stopCommand(), p.doctorCommand())
	return root
}
