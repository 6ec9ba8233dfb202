package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/scheduler"
	"github.com/headway-sh/headway/scheduler/core"
	"github.com/headway-sh/headway/scheduler/extender"
	"github.com/headway-sh/headway/scheduler/queue"
)

var errAllAreScored = errors.New("percentageOfNodesToScore is not supported: every node that fits is scored; leave it out")

// Settings are what a file says.
type Settings struct {
	Profiles []core.Profile
	// Extensions are, for each profile, the extenders.
	Extensions map[string]scheduler.Extensions
	// InitialBackoff and MaxBackoff are 0 when the file does not say.
	InitialBackoff, MaxBackoff time.Duration
}

// Load reads a file.
func Load(path string) (Settings, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Settings{}, fmt.Errorf("read scheduler configuration: %w", err)
	}
	settings, err := Parse(text)
	if err != nil {
		return Settings{}, fmt.Errorf("scheduler configuration %s: %w", path, err)
	}
	return settings, nil
}

// Parse reads YAML or JSON. Unknown fields are errors.
func Parse(text []byte) (Settings, error) {
	var c configv1.KubeSchedulerConfiguration
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return Settings{}, err
	}
	if want := configv1.SchemeGroupVersion.String(); c.APIVersion != want || c.Kind != "KubeSchedulerConfiguration" {
		return Settings{}, fmt.Errorf("a KubeSchedulerConfiguration of %s is wanted, not a %q of %q", want, c.Kind, c.APIVersion)
	}
	var out Settings
	for given, to := range map[*int64]*time.Duration{c.PodInitialBackoffSeconds: &out.InitialBackoff, c.PodMaxBackoffSeconds: &out.MaxBackoff} {
		if given != nil && *given < 1 {
			return Settings{}, errors.New("podInitialBackoffSeconds and podMaxBackoffSeconds must be at least 1")
		}
		if given != nil {
			*to = time.Duration(*given) * time.Second
		}
	}
	if cmp.Or(out.MaxBackoff, queue.MaxBackoff) < cmp.Or(out.InitialBackoff, queue.InitialBackoff) {
		return Settings{}, errors.New("podMaxBackoffSeconds must not be below podInitialBackoffSeconds")
	}
	if c.PercentageOfNodesToScore != nil {
		return Settings{}, errAllAreScored
	}
	seen := map[string]bool{}
	for i := range c.Profiles {
		p, err := profile(&c.Profiles[i])
		if err != nil {
			return Settings{}, fmt.Errorf("profiles[%d]: %w", i, err)
		}
		if seen[p.Name] {
			return Settings{}, fmt.Errorf("profiles[%d]: there is a profile %q already", i, p.Name)
		}
		seen[p.Name] = true
		out.Profiles = append(out.Profiles, p)
	}
	if err := extenders(c.Extenders, &out); err != nil {
		return Settings{}, err
	}
	return out, nil
}

// extenders are asked about the pods of every profile.
func extenders(in []configv1.Extender, out *Settings) error {
	if len(in) == 0 {
		return nil
	}
	var all scheduler.Extensions
	ignored := map[corev1.ResourceName]bool{}
	for i, c := range in {
		e, err := extender.New(c)
		if err != nil {
			return fmt.Errorf("extenders[%d]: %w", i, err)
		}
		if e.Binds() {
			if len(all.Bind) > 0 {
				return fmt.Errorf("extenders[%d]: only one may have a bindVerb", i)
			}
			all.Bind = append(all.Bind, e)
		}
		all.Extenders = append(all.Extenders, e)
		for _, name := range e.Ignored() {
			ignored[name] = true
		}
	}
	if len(out.Profiles) == 0 {
		out.Profiles = []core.Profile{{Name: core.DefaultProfile}}
	}
	out.Extensions = map[string]scheduler.Extensions{}
	for i := range out.Profiles {
		out.Profiles[i].Ignored = ignored
		out.Extensions[out.Profiles[i].Name] = all
	}
	return nil
}

func profile(in *configv1.KubeSchedulerProfile) (core.Profile, error) {
	if in.PercentageOfNodesToScore != nil {
		return core.Profile{}, errAllAreScored
	}
	out := core.Profile{Name: core.DefaultProfile, Without: map[string]bool{}, Weights: map[string]int64{}}
	if in.SchedulerName != nil {
		out.Name = *in.SchedulerName
	}
	if in.Plugins != nil {
		if err := plugins(in.Plugins, &out); err != nil {
			return out, err
		}
	}
	for i, c := range in.PluginConfig {
		if err := arguments(c, &out); err != nil {
			return out, fmt.Errorf("pluginConfig[%d]: %w", i, err)
		}
	}
	return out, nil
}

// plugins takes over what is switched on and off. Filters and scores are in a
// fixed order here, so that enabling one that is on means only its weight.
func plugins(in *configv1.Plugins, out *core.Profile) error {
	for _, point := range []struct {
		name           string
		set            configv1.PluginSet
		filter, scores bool
	}{
		{"multiPoint", in.MultiPoint, true, true},
		{"preFilter", in.PreFilter, true, false},
		{"filter", in.Filter, true, false},
		{"preScore", in.PreScore, false, true},
		{"score", in.Score, false, true},
	} {
		if err := pluginSet(point.set, point.filter, point.scores, out); err != nil {
			return fmt.Errorf("plugins.%s: %w", point.name, err)
		}
	}
	for name, set := range map[string]configv1.PluginSet{
		"preEnqueue": in.PreEnqueue, "queueSort": in.QueueSort, "postFilter": in.PostFilter, "reserve": in.Reserve, "permit": in.Permit,
		"preBind": in.PreBind, "bind": in.Bind, "postBind": in.PostBind, "placementGenerate": in.PlacementGenerate,
		"placementScore": in.PlacementScore, "podGroupPostFilter": in.PodGroupPostFilter,
	} {
		if len(set.Enabled)+len(set.Disabled) > 0 {
			return fmt.Errorf("plugins.%s cannot be changed", name)
		}
	}
	return nil
}

func pluginSet(set configv1.PluginSet, filter, scores bool, out *core.Profile) error {
	known := func(name string) error {
		if !slices.Contains(core.FilterNames(), name) && !slices.Contains(core.ScoreNames(), name) {
			return fmt.Errorf("there is no plug-in %q", name)
		}
		return nil
	}
	for _, p := range set.Disabled {
		names := []string{p.Name}
		if p.Name == "*" {
			names = append(core.FilterNames(), core.ScoreNames()...)
		} else if err := known(p.Name); err != nil {
			return err
		}
		for _, name := range names {
			if filter {
				out.Without[name] = true
			}
			if scores {
				out.Weights[name] = 0
			}
		}
	}
	for _, p := range set.Enabled {
		if err := known(p.Name); err != nil {
			return err
		}
		if filter {
			delete(out.Without, p.Name)
		}
		if !scores {
			continue
		}
		if delete(out.Weights, p.Name); p.Weight != nil && *p.Weight > 0 {
			out.Weights[p.Name] = int64(*p.Weight)
		}
	}
	return nil
}

func arguments(c configv1.PluginConfig, out *core.Profile) error {
	if c.Name != "NodeResourcesFit" {
		return fmt.Errorf("the plug-in %q has no arguments here", c.Name)
	}
	var args configv1.NodeResourcesFitArgs
	if err := yaml.UnmarshalStrict(c.Args.Raw, &args); err != nil {
		return fmt.Errorf("args: %w", err)
	}
	if len(args.IgnoredResources)+len(args.IgnoredResourceGroups) > 0 {
		return errors.New("ignoredResources and ignoredResourceGroups are not supported")
	}
	if args.ScoringStrategy == nil {
		return nil
	}
	strategies := map[configv1.ScoringStrategyType]core.Strategy{
		"": core.LeastAllocated, configv1.LeastAllocated: core.LeastAllocated, configv1.MostAllocated: core.MostAllocated,
		configv1.RequestedToCapacityRatio: core.RequestedToCapacity,
	}
	strategy, ok := strategies[args.ScoringStrategy.Type]
	if !ok {
		return fmt.Errorf("there is no scoring strategy %q", args.ScoringStrategy.Type)
	}
	out.Scoring.Strategy = strategy
	for _, r := range args.ScoringStrategy.Resources {
		if r.Weight < 0 || r.Weight > 100 {
			return fmt.Errorf("resource %q: the weight must be from 1 to 100", r.Name)
		}
		out.Scoring.Resources = append(out.Scoring.Resources, core.WeightedResource{Name: corev1.ResourceName(r.Name), Weight: r.Weight})
	}
	return shape(args.ScoringStrategy, out)
}

// shape reads scores from 0 to 10, as the file has them.
func shape(s *configv1.ScoringStrategy, out *core.Profile) error {
	if out.Scoring.Strategy != core.RequestedToCapacity {
		return nil
	}
	if s.RequestedToCapacityRatio == nil || len(s.RequestedToCapacityRatio.Shape) == 0 {
		return errors.New("requestedToCapacityRatio.shape is needed")
	}
	last := int32(-1)
	for _, point := range s.RequestedToCapacityRatio.Shape {
		if point.Utilization <= last || point.Utilization > 100 || point.Score < 0 || point.Score > 10 {
			return errors.New("requestedToCapacityRatio.shape: utilization must ascend from 0 to 100, scores are from 0 to 10")
		}
		last = point.Utilization
		out.Scoring.Shape = append(out.Scoring.Shape, core.ShapePoint{Used: int64(point.Utilization), Score: int64(point.Score) * 10})
	}
	return nil
}
