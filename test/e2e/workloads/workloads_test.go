// Package workloads_test runs every kind of workload with real containers on
// three machines: what is promised about data, counts and requests is looked at
// where it counts, in the containers.
package workloads_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/test/e2e/machines"
)

func TestWorkloads(t *testing.T) {
	c := &cluster{machines.Start(t, 3, "10.91.0.0/24")}
	machines.Await(t, c.Cluster, "the default service account", &corev1.ServiceAccountList{}, func(all map[string]*corev1.ServiceAccount) bool { return all["default"] != nil })
	t.Run("side by side", func(t *testing.T) {
		for name, f := range map[string]func(*testing.T, *cluster){
			"an autoscaler follows what pods use":  autoscaler,
			"a CronJob runs in its minute":         cronJob,
			"a DaemonSet is on every node":         daemonSet,
			"a rolling update loses no request":    rollingUpdate,
			"a StatefulSet keeps each pod its own": statefulSet,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f(t, c)
			})
		}
	})
	// Alone, because it ends the server.
	t.Run("a Job is exact when the server is killed", func(t *testing.T) { job(t, c) })
}

type cluster struct{ *machines.Cluster }

func (c *cluster) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		o.SetNamespace("default")
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// peer is a pod of the peer program.
func peer(app string, args ...string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}}, Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: ptr.To(int64(10)),
		Containers: []corev1.Container{{Name: "peer", Image: machines.PeerImage, ImagePullPolicy: corev1.PullNever, Args: args,
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}}}}}}
}

func selector(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func daemonSet(t *testing.T, c *cluster) {
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "each"}, Spec: appsv1.DaemonSetSpec{Selector: selector("each"), Template: peer("each", "serve", ":8080")}}
	c.create(t, d)
	machines.Await(t, c.Cluster, "a pod on each node", &appsv1.DaemonSetList{}, func(all map[string]*appsv1.DaemonSet) bool {
		return all["each"] != nil && all["each"].Status.NumberReady == 3
	})
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.InNamespace("default"), client.MatchingLabels{"app": "each"}); err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for _, p := range pods.Items {
		nodes = append(nodes, p.Spec.NodeName)
	}
	slices.Sort(nodes)
	if !slices.Equal(nodes, []string{"node-1", "node-2", "node-3"}) {
		t.Errorf("its pods are on %v", nodes)
	}
}

// statefulSet: two pods, each of which adds its name to a file on a volume of
// its own; a pod that is made again finds what it wrote before.
func statefulSet(t *testing.T, c *cluster) {
	template := peer("store", "keep", "/data/names", ":8080")
	template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}}}}
	c.create(t, &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "store"}, Spec: appsv1.StatefulSetSpec{Replicas: ptr.To(int32(2)), Selector: selector("store"),
		ServiceName: "store", Template: template, VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claim}}})
	ready := func() {
		t.Helper()
		machines.Await(t, c.Cluster, "both pods ready", &appsv1.StatefulSetList{}, func(all map[string]*appsv1.StatefulSet) bool {
			s := all["store"]
			return s != nil && s.Status.ReadyReplicas == 2 && s.Status.CurrentReplicas == 2
		})
	}
	ready()
	var first corev1.Pod
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "store-1"}, &first); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), first.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	machines.Await(t, c.Cluster, "the pod again", &corev1.PodList{}, func(all map[string]*corev1.Pod) bool {
		p := all["store-1"]
		return p != nil && p.UID != first.UID && p.Status.Phase == corev1.PodRunning && p.Spec.NodeName == first.Spec.NodeName
	})
	ready()
	for pod, want := range map[string]string{"store-0": "store-0\n", "store-1": "store-1\nstore-1\n"} {
		if got, err := c.Exec(t, pod, "get", "http://localhost:8080"); err != nil || got != want {
			t.Errorf("%s has kept %q (%v), want %q", pod, got, err, want)
		}
	}
}

// rollingUpdate: a client asks without pause while every pod is replaced.
func rollingUpdate(t *testing.T, c *cluster) {
	template := peer("web", "serve", ":8080")
	template.Spec.Containers[0].ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(8080)}}}
	// Whoever still has the old endpoints must find somebody there.
	template.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 2}}}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To(int32(3)), Selector: selector("web"), Template: template}}
	c.create(t, d, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"},
		Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "client"}, Spec: peer("client", "serve", ":8080").Spec})
	rolledOut := func(what string) {
		t.Helper()
		machines.Await(t, c.Cluster, what, &appsv1.DeploymentList{}, func(all map[string]*appsv1.Deployment) bool {
			now := all["web"]
			return now != nil && now.Generation == now.Status.ObservedGeneration && now.Status.UpdatedReplicas == 3 && now.Status.AvailableReplicas == 3 && now.Status.Replicas == 3
		})
	}
	rolledOut("the first version")
	machines.Await(t, c.Cluster, "the client", &corev1.PodList{}, func(all map[string]*corev1.Pod) bool {
		return all["client"] != nil && all["client"].Status.Phase == corev1.PodRunning
	})
	if out, err := c.Exec(t, "client", "load", "500ms", "http://web"); err != nil {
		t.Fatalf("before the update: %v\n%s", err, out)
	}
	asked := make(chan string, 1)
	go func() {
		out, err := c.Exec(t, "client", "load", "20s", "http://web")
		asked <- fmt.Sprintf("%s%v", out, err)
	}()
	patch := client.RawPatch("application/strategic-merge-patch+json", []byte(`{"spec":{"template":{"metadata":{"annotations":{"version":"2"}}}}}`))
	if err := c.Patch(t.Context(), d, patch); err != nil {
		t.Fatal(err)
	}
	rolledOut("the second version")
	if got := <-asked; !strings.HasSuffix(got, " 0 not\n<nil>") {
		t.Errorf("while it was updated: %s", got)
	} else {
		t.Log(got)
	}
}

func cronJob(t *testing.T, c *cluster) {
	spec := peer("tick", "wait", "10ms")
	spec.Spec.RestartPolicy = corev1.RestartPolicyNever
	c.create(t, &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "tick"}, Spec: batchv1.CronJobSpec{Schedule: "* * * * *",
		JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: spec}}}})
	made := time.Now()
	next := made.Truncate(time.Minute).Add(time.Minute)
	select { // Await has not the patience
	case <-time.After(time.Until(next)):
	case <-t.Context().Done():
	}
	machines.Await(t, c.Cluster, "its run", &batchv1.CronJobList{}, func(all map[string]*batchv1.CronJob) bool {
		now := all["tick"]
		return now != nil && now.Status.LastSuccessfulTime != nil && now.Status.LastScheduleTime.Time.Equal(next)
	})
}

// autoscaler: pods that use all they can are joined by others.
func autoscaler(t *testing.T, c *cluster) {
	template := peer("busy", "burn")
	template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	c.create(t, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "busy"}, Spec: appsv1.DeploymentSpec{Selector: selector("busy"), Template: template}},
		&autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "busy"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "busy"}, MaxReplicas: 2,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To(int32(50))}}}}}})
	machines.Await(t, c.Cluster, "a second pod", &appsv1.DeploymentList{}, func(all map[string]*appsv1.Deployment) bool {
		return all["busy"] != nil && all["busy"].Status.ReadyReplicas == 2
	})
}

// job: twelve pods, two at a time, while the server is killed and comes back.
func job(t *testing.T, c *cluster) {
	spec := peer("once", "wait", "300ms")
	spec.Spec.RestartPolicy = corev1.RestartPolicyNever
	c.create(t, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "once"}, Spec: batchv1.JobSpec{Completions: ptr.To(int32(12)), Parallelism: ptr.To(int32(2)),
		CompletionMode: ptr.To(batchv1.IndexedCompletion), Template: spec}})
	for _, atLeast := range []int32{2, 6} {
		machines.Await(t, c.Cluster, fmt.Sprintf("%d pods done", atLeast), &batchv1.JobList{}, func(all map[string]*batchv1.Job) bool {
			return all["once"] != nil && all["once"].Status.Succeeded >= atLeast
		})
		c.Dev(t, "kill", "server-1")
		c.Dev(t, "heal", "server-1")
		c.awaitServer(t)
	}
	machines.Await(t, c.Cluster, "the Job complete", &batchv1.JobList{}, func(all map[string]*batchv1.Job) bool {
		now := all["once"]
		return now != nil && slices.ContainsFunc(now.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == batchv1.JobComplete })
	})
	var now batchv1.Job
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "once"}, &now); err != nil {
		t.Fatal(err)
	}
	if s := now.Status; s.Succeeded != 12 || s.Failed != 0 || s.CompletedIndexes != "0-11" {
		t.Errorf("it says %d succeeded, %d failed, indexes %q", s.Succeeded, s.Failed, s.CompletedIndexes)
	}
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.InNamespace("default"), client.MatchingLabels{"app": "once"}); err != nil {
		t.Fatal(err)
	}
	ran := map[string]int{}
	for _, p := range pods.Items {
		ran[p.Annotations[batchv1.JobCompletionIndexAnnotation]]++
		if len(p.Finalizers) > 0 || p.Status.Phase != corev1.PodSucceeded {
			t.Errorf("pod %s is %s and has the finalizers %v", p.Name, p.Status.Phase, p.Finalizers)
		}
	}
	for i := range 12 {
		if ran[fmt.Sprint(i)] != 1 {
			t.Errorf("index %d ran %d times", i, ran[fmt.Sprint(i)])
		}
	}
}

// awaitServer asks until the server answers again.
func (c *cluster) awaitServer(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(machines.Patience); ; {
		out, err := c.Try(t, "kubectl", "get", "--raw", "/readyz")
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("the server is not back: %v\n%s", err, out)
		}
	}
}
