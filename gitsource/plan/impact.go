package plan

import (
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

var nodes = schema.GroupResource{Resource: "nodes"}

// Impact works out what the outcomes of a plan set in motion.
func Impact(view txn.View, outcomes []txn.Outcome) *v1alpha1.PlanImpact {
	out := &impact{}
	images := map[string]bool{}
	for _, o := range outcomes {
		switch o.Operation {
		case txn.Unchanged:
			continue
		case txn.Created, txn.Updated:
			out.change(o)
		case Replaced:
			out.delete(o)
			if _, n := template(o.Before); n > 0 {
				out.rollout(o, n)
			}
		default:
			out.delete(o)
			continue
		}
		if o.After == nil {
			continue
		}
		spec, _ := workload(o.After)
		if spec == nil {
			continue
		}
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			images[c.Image] = true
		}
		if o.Operation != Replaced {
			out.restart(o)
		}
	}
	out.MissingImages = missing(view, images)
	out.Quotas = quotaUse(view, outcomes)
	if len(out.Rollouts) == 0 && len(out.Lost) == 0 && len(out.MissingImages) == 0 && len(out.Irreversible) == 0 && len(out.Quotas) == 0 {
		return nil
	}
	return &out.PlanImpact
}

// impact is one under construction.
type impact struct{ v1alpha1.PlanImpact }

// delete notes what goes with an object.
func (i *impact) delete(o txn.Outcome) {
	ref := o.Change.Ref.String()
	switch o.Change.Ref.Resource.Resource {
	case "namespaces":
		i.Lost = append(i.Lost, ref+": with everything in it")
		i.Irreversible = append(i.Irreversible, ref+": what others have put into it")
	case "persistentvolumeclaims":
		i.Lost = append(i.Lost, ref+": with its data, unless its volume is retained")
		i.Irreversible = append(i.Irreversible, ref+": its data")
	case "customresourcedefinitions":
		i.Lost = append(i.Lost, ref+": with every object of the kind")
		i.Irreversible = append(i.Irreversible, ref+": objects of the kind that are not in git")
	case "jobs":
		i.Irreversible = append(i.Irreversible, ref+": what it has done")
	}
}

// restart notes a workload whose pods are replaced.
func (i *impact) restart(o txn.Outcome) {
	after, _ := template(o.After)
	before, pods := template(o.Before)
	if after == nil || before == nil || equality.Semantic.DeepEqual(before, after) {
		return
	}
	i.rollout(o, pods)
}

func (i *impact) rollout(o txn.Outcome, pods int32) {
	i.Rollouts = append(i.Rollouts, v1alpha1.Rollout{Object: o.Change.Ref.String(), Pods: pods})
	i.Restarts += pods
}

// template is the pod template of a workload that replaces its pods when the
// template changes, and how many it has.
func template(o txn.Object) (*corev1.PodTemplateSpec, int32) {
	switch w := o.(type) {
	case *appsv1.Deployment:
		return &w.Spec.Template, ptr.Deref(w.Spec.Replicas, 1)
	case *appsv1.StatefulSet:
		return &w.Spec.Template, ptr.Deref(w.Spec.Replicas, 1)
	case *appsv1.DaemonSet:
		return &w.Spec.Template, w.Status.DesiredNumberScheduled
	}
	return nil, 0
}

// workload is the pod spec that an object runs.
func workload(o txn.Object) (*corev1.PodSpec, bool) {
	if t, _ := template(o); t != nil {
		return &t.Spec, true
	}
	switch w := o.(type) {
	case *corev1.Pod:
		return &w.Spec, true
	case *batchv1.Job:
		return &w.Spec.Template.Spec, true
	case *batchv1.CronJob:
		return &w.Spec.JobTemplate.Spec.Template.Spec, true
	case *appsv1.ReplicaSet:
		return &w.Spec.Template.Spec, true
	case *corev1.ReplicationController:
		if w.Spec.Template != nil {
			return &w.Spec.Template.Spec, true
		}
	}
	return nil, false
}

// missing are the images that no node says it has.
func missing(view txn.View, wanted map[string]bool) []string {
	if len(wanted) == 0 {
		return nil
	}
	have := map[string]bool{}
	for o := range view.Each(nodes, "") {
		node, ok := o.(*corev1.Node)
		if !ok {
			continue
		}
		for _, image := range node.Status.Images {
			for _, name := range image.Names {
				have[canonical(name)] = true
			}
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if !have[canonical(name)] {
			out = append(out, name)
		}
	}
	return out
}

// canonical gives an image's name with its registry and tag, as nodes do.
func canonical(name string) string {
	first, _, nested := strings.Cut(name, "/")
	switch {
	case !nested:
		name = "docker.io/library/" + name
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		name = "docker.io/" + name
	}
	if last := name[strings.LastIndex(name, "/"):]; !strings.ContainsAny(last, ":@") {
		name = name + ":latest"
	}
	return name
}
