package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/scheduler/config"
	"github.com/headway-sh/headway/scheduler/core"
)

const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := config.Parse([]byte(head + `
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 30
profiles:
- schedulerName: default-scheduler
- schedulerName: packed
  plugins:
    score:
      disabled: [{name: ImageLocality}]
      enabled: [{name: InterPodAffinity, weight: 7}]
    filter:
      disabled: [{name: NodePorts}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      scoringStrategy:
        type: RequestedToCapacityRatio
        resources: [{name: cpu, weight: 3}]
        requestedToCapacityRatio:
          shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Settings{
		InitialBackoff: 2 * time.Second, MaxBackoff: 30 * time.Second,
		Profiles: []core.Profile{
			{Name: "default-scheduler", Without: map[string]bool{}, Weights: map[string]int64{}},
			{Name: "packed", Without: map[string]bool{"NodePorts": true}, Weights: map[string]int64{"ImageLocality": 0, "InterPodAffinity": 7},
				Scoring: core.Scoring{Strategy: core.RequestedToCapacity, Resources: []core.WeightedResource{{Name: corev1.ResourceCPU, Weight: 3}},
					Shape: []core.ShapePoint{{Used: 0, Score: 0}, {Used: 100, Score: 100}}}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestExtenders(t *testing.T) {
	t.Parallel()
	got, err := config.Parse([]byte(head + `extenders:
- urlPrefix: http://127.0.0.1:9999/x
  filterVerb: filter
  bindVerb: bind
  managedResources: [{name: example.com/fpga, ignoredByScheduler: true}]
`))
	if err != nil {
		t.Fatal(err)
	}
	own := got.Extensions[core.DefaultProfile]
	if len(own.Extenders) != 1 || len(own.Bind) != 1 || len(got.Profiles) != 1 || !got.Profiles[0].Ignored["example.com/fpga"] {
		t.Errorf("settings: %+v", got)
	}
}

func TestWhatIsNotDoneIsRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"apiVersion: v1\nkind: Pod\n":                   "KubeSchedulerConfiguration",
		head + "profile: []\n":                          "unknown field",
		head + "extenders: [{urlPrefix: 'http://x'}]\n": "extenders[0]: one of filterVerb",
		head + "extenders: [{urlPrefix: 'http://x', bindVerb: b}, {urlPrefix: 'http://y', bindVerb: b}]\n": "extenders[1]: only one may have a bindVerb",
		head + "podMaxBackoffSeconds: 0\n":                                                                      "at least 1",
		head + "podInitialBackoffSeconds: 9\npodMaxBackoffSeconds: 2\n":                                         "below",
		head + "profiles: [{schedulerName: a}, {schedulerName: a}]\n":                                           `profiles[1]: there is a profile "a" already`,
		head + "profiles: [{plugins: {score: {disabled: [{name: Nonesuch}]}}}]\n":                               `plugins.score: there is no plug-in "Nonesuch"`,
		head + "percentageOfNodesToScore: 50\n":                                                                 "every node that fits is scored",
		head + "profiles: [{percentageOfNodesToScore: 50}]\n":                                                   "profiles[0]: percentageOfNodesToScore",
		head + "podInitialBackoffSeconds: 30\n":                                                                 "podMaxBackoffSeconds must not be below",
		head + "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringstrategies: {}}}]}]\n":        "unknown field",
		head + "profiles: [{plugins: {bind: {disabled: [{name: '*'}]}}}]\n":                                     "plugins.bind cannot be changed",
		head + "profiles: [{pluginConfig: [{name: VolumeBinding, args: {}}]}]\n":                                "pluginConfig[0]",
		head + "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Odd}}}]}]\n": `strategy "Odd"`,
	} {
		if _, err := config.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}
