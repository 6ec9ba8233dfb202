package main

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// playAgent plays the agent: each pod that is not over ends as end says.
func playAgent(t *testing.T, c client.Client, end func(p *corev1.Pod) corev1.PodPhase) {
	t.Helper()
	var list corev1.PodList
	ok(t, c.List(t.Context(), &list, client.InNamespace("default")))
	for _, p := range list.Items {
		phase := end(&p)
		if phase == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		p.Status.Phase = phase
		_ = client.IgnoreNotFound(c.Status().Update(t.Context(), &p)) // a lost race comes again
	}
}

func soon(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func jobOf(name string, change func(s *batchv1.JobSpec)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: batchv1.JobSpec{
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}}}
	change(&j.Spec)
	return j
}

// TestJobsOnTheServer has the API server judge each step of Jobs' statuses.
func TestJobsOnTheServer(t *testing.T) {
	c := rooms(t, "bootstrap", "serviceaccount", "job", "garbagecollector", "ttlafterfinished")
	soon(t, "the default account", func() bool {
		return c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "default"}, &corev1.ServiceAccount{}) == nil
	})
	for _, j := range []*batchv1.Job{
		jobOf("plain", func(s *batchv1.JobSpec) { s.Completions, s.Parallelism = ptr.To[int32](5), ptr.To[int32](2) }),
		jobOf("indexed", func(s *batchv1.JobSpec) {
			s.Completions, s.Parallelism, s.CompletionMode = ptr.To[int32](5), ptr.To[int32](3), ptr.To(batchv1.IndexedCompletion)
		}),
		jobOf("hopeless", func(s *batchv1.JobSpec) { s.BackoffLimit = ptr.To[int32](0) }),
		jobOf("byindex", func(s *batchv1.JobSpec) {
			s.Completions, s.Parallelism, s.CompletionMode = ptr.To[int32](3), ptr.To[int32](3), ptr.To(batchv1.IndexedCompletion)
			s.BackoffLimitPerIndex = ptr.To[int32](0)
		}),
		jobOf("short", func(s *batchv1.JobSpec) { s.TTLSecondsAfterFinished = ptr.To[int32](0) }),
	} {
		ok(t, c.Create(t.Context(), j))
	}
	status := func(name string) batchv1.JobStatus {
		j := &batchv1.Job{}
		ok(t, c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, j))
		return j.Status
	}
	over := func(name string) string {
		playAgent(t, c, func(p *corev1.Pod) corev1.PodPhase {
			if owner := p.Labels[batchv1.JobNameLabel]; owner == "hopeless" || owner == "byindex" && p.Annotations[batchv1.JobCompletionIndexAnnotation] == "1" {
				return corev1.PodFailed
			}
			return corev1.PodSucceeded
		})
		for _, k := range status(name).Conditions {
			if (k.Type == batchv1.JobComplete || k.Type == batchv1.JobFailed) && k.Status == corev1.ConditionTrue {
				return string(k.Type) + " " + k.Reason
			}
		}
		return ""
	}
	for name, want := range map[string]string{"plain": "Complete CompletionsReached", "indexed": "Complete CompletionsReached",
		"hopeless": "Failed BackoffLimitExceeded", "byindex": "Failed FailedIndexes"} {
		soon(t, name+": "+want, func() bool { return over(name) == want })
	}
	if s := status("plain"); s.Succeeded != 5 || s.Failed != 0 {
		t.Errorf("plain: %+v", s)
	}
	if s := status("indexed"); s.CompletedIndexes != "0-4" || s.Succeeded != 5 {
		t.Errorf("indexed: %+v", s)
	}
	if s := status("byindex"); s.CompletedIndexes != "0,2" || *s.FailedIndexes != "1" || s.Failed != 1 {
		t.Errorf("byindex: %+v", s)
	}
	soon(t, "the Job with a time to live of nothing goes, with its pods", func() bool {
		var jobs batchv1.JobList
		var pods corev1.PodList
		ok(t, c.List(t.Context(), &jobs, client.MatchingFields{"metadata.name": "short"}))
		ok(t, c.List(t.Context(), &pods, client.MatchingLabels{batchv1.JobNameLabel: "short"}))
		return len(jobs.Items)+len(pods.Items) == 0
	})
	ok(t, c.Delete(t.Context(), jobOf("plain", func(*batchv1.JobSpec) {}), client.PropagationPolicy(metav1.DeletePropagationBackground)))
	soon(t, "the pods of a deleted Job go", func() bool {
		var pods corev1.PodList
		ok(t, c.List(t.Context(), &pods, client.MatchingLabels{batchv1.JobNameLabel: "plain"}))
		return len(pods.Items) == 0
	})
}
