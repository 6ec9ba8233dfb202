package health

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/internal/objectcel"
)

// Judge tells how objects are: by a source's own checks where it has one for
// the kind, by kstatus' rules otherwise. The zero Judge has no checks.
type Judge struct{ checks map[schema.GroupKind]check }

type check struct{ healthy, failed *objectcel.Program }

// NewJudge compiles checks. Those that do not compile are left out, and
// their errors given back.
func NewJudge(checks []v1alpha1.HealthCheck) (*Judge, []error) {
	j := &Judge{checks: map[schema.GroupKind]check{}}
	var errs []error
	compile := func(c *v1alpha1.HealthCheck, expression string) *objectcel.Program {
		if expression == "" {
			return nil
		}
		p, err := objectcel.Compile(expression)
		if err != nil {
			errs = append(errs, fmt.Errorf("health check of %s: %w", c.Kind, err))
		}
		return p
	}
	for i := range checks {
		c := &checks[i]
		one := check{compile(c, c.Healthy), compile(c, c.Failed)}
		if one != (check{}) {
			j.checks[schema.FromAPIVersionAndKind(c.APIVersion, c.Kind).GroupKind()] = one
		}
	}
	return j, errs
}

func kindOf(e *plan.Entry) schema.GroupKind { return schema.GroupKind{Group: e.Group, Kind: e.Kind} }

// judge evaluates the expressions. What cannot be evaluated yet, such as a
// status that nobody has written, is in progress.
func (c check) judge(object map[string]any) State {
	if c.failed != nil {
		if failed, err := c.failed.Eval(object); err == nil && failed {
			return State{v1alpha1.HealthDegraded, "failed by the source's health check"}
		}
	}
	if c.healthy == nil {
		return State{Health: v1alpha1.HealthHealthy}
	}
	healthy, err := c.healthy.Eval(object)
	switch {
	case err != nil:
		return State{v1alpha1.HealthProgressing, "not healthy by the source's health check: " + err.Error()}
	case !healthy:
		return State{v1alpha1.HealthProgressing, "not healthy by the source's health check"}
	}
	return State{Health: v1alpha1.HealthHealthy}
}
