package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/headway-sh/headway/nodeagent/cgroup"
	"github.com/headway-sh/headway/nodeagent/plan"
	"github.com/headway-sh/headway/nodeagent/runtime/containerd"
)

// podOptions are what a node's pods may do and what runs them.
type podOptions struct {
	maxPids       int64
	unsafeSysctls []string
	handlers      []string
}

func (o *podOptions) flags(f *pflag.FlagSet) {
	f.Int64Var(&o.maxPids, "pod-max-pids", 0, "processes and threads that one pod may have (default: a quarter of the machine's, at most 32768); -1: no limit")
	f.StringSliceVar(&o.unsafeSysctls, "allowed-unsafe-sysctls", nil, "kernel parameters that pods may set beside the safe ones, such as kernel.msg* or net.core.somaxconn")
	f.StringArrayVar(&o.handlers, "runtime-handler", nil, "NAME=SHIM[,PROGRAM]: a handler for RuntimeClasses beside runc, such as kata=io.containerd.kata.v2 or crun=io.containerd.runc.v2,/usr/bin/crun")
}

func (o *podOptions) validate() error {
	for _, s := range o.unsafeSysctls {
		if err := plan.UnsafeSysctl(s); err != nil {
			return fmt.Errorf("--allowed-unsafe-sysctls: %w", err)
		}
	}
	_, err := o.runtimeHandlers()
	return err
}

// pids is the limit of a pod; 0 is none.
func (o *podOptions) pids() int64 {
	if o.maxPids == 0 {
		return cgroup.DefaultPidsLimit()
	}
	return max(o.maxPids, 0)
}

func (o *podOptions) runtimeHandlers() (map[string]containerd.Handler, error) {
	all := map[string]containerd.Handler{}
	for _, text := range o.handlers {
		name, rest, ok := strings.Cut(text, "=")
		shim, program, _ := strings.Cut(rest, ",")
		if !ok || name == "" || shim == "" || name == "runc" {
			return nil, fmt.Errorf("--runtime-handler: %q is not NAME=SHIM[,PROGRAM]", text)
		}
		all[name] = containerd.Handler{Type: shim, Binary: program}
	}
	return all, nil
}

func (o *podOptions) handlerNames() []string {
	all, err := o.runtimeHandlers()
	if err != nil {
		return nil // validate has told
	}
	return slices.Sorted(maps.Keys(all))
}
