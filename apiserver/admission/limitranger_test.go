package admission_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission"
	"github.com/headway-sh/headway/apiserver/write"
)

func quantities(texts ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i+1 < len(texts); i += 2 {
		list[corev1.ResourceName(texts[i])] = resource.MustParse(texts[i+1])
	}
	return list
}

func limitRanger(t *testing.T) write.Step {
	t.Helper()
	for _, s := range admission.Steps(admission.Config{}) {
		if s.Name == "LimitRanger" {
			return s
		}
	}
	t.Fatal("there is no such step")
	return write.Step{}
}

func TestLimitRanger(t *testing.T) {
	t.Parallel()
	step := limitRanger(t)
	container := corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Default: quantities("cpu", "500m"), DefaultRequest: quantities("cpu", "100m"),
		Min: quantities("cpu", "50m"), Max: quantities("cpu", "1"), MaxLimitRequestRatio: quantities("cpu", "5")}
	wholePod := corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: quantities("cpu", "1500m")}
	claim := corev1.LimitRangeItem{Type: corev1.LimitTypePersistentVolumeClaim, Min: quantities("storage", "1Gi"), Max: quantities("storage", "5Gi")}
	ranges := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bounds"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{container, wholePod, claim}}}
	view := txn.Overlay(txn.Empty{}, map[txn.Ref]txn.Object{{Resource: corev1.Resource("limitranges"), Namespace: "shop", Name: "bounds"}: ranges}, nil)

	pod := func(lists ...corev1.ResourceRequirements) txn.Object {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}}
		for i, r := range lists {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: string(rune('a' + i)), Resources: r})
		}
		return p
	}
	with := func(request, limit string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: quantities("cpu", request), Limits: quantities("cpu", limit)}
	}
	storage := func(size string) txn.Object {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "c"},
			Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: quantities("storage", size)}}}
	}
	for name, c := range map[string]struct {
		o    txn.Object
		want string // part of the refusal; empty: allowed
	}{
		"defaults fit":          {pod(corev1.ResourceRequirements{}), ""},
		"within the bounds":     {pod(with("200m", "1")), ""},
		"too little":            {pod(with("10m", "50m")), "minimum cpu usage per Container is 50m, but request is 10m"},
		"too much":              {pod(with("500m", "2")), "maximum cpu usage per Container is 1, but limit is 2"},
		"too far apart":         {pod(with("100m", "1")), "cpu max limit to request ratio per Container is 5, but provided ratio is 10.000000"},
		"too much in all":       {pod(with("500m", "1"), with("500m", "1")), "maximum cpu usage per Pod is 1500m, but limit is 2"},
		"a claim within":        {storage("2Gi"), ""},
		"a claim that is small": {storage("1Mi"), "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"},
		"a claim that is large": {storage("10Gi"), "maximum storage usage per PersistentVolumeClaim is 5Gi"},
	} {
		resourceOf := corev1.Resource("pods")
		if _, ok := c.o.(*corev1.PersistentVolumeClaim); ok {
			resourceOf = corev1.Resource("persistentvolumeclaims")
		}
		r := &write.Request{Operation: write.OperationCreate, Ref: txn.Ref{Resource: resourceOf, Namespace: "shop", Name: c.o.GetName()}, Object: c.o}
		if err := step.Mutate(t.Context(), view, r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err := step.Validate(t.Context(), view, r)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}

	defaulted := pod(corev1.ResourceRequirements{}).(*corev1.Pod)
	r := &write.Request{Operation: write.OperationCreate, Ref: txn.Ref{Resource: corev1.Resource("pods"), Namespace: "shop", Name: "p"}, Object: defaulted}
	if err := step.Mutate(t.Context(), view, r); err != nil {
		t.Fatal(err)
	}
	have := defaulted.Spec.Containers[0].Resources
	if have.Requests.Cpu().String() != "100m" || have.Limits.Cpu().String() != "500m" {
		t.Errorf("defaulted to %v", have)
	}
	if got, want := defaulted.Annotations["kubernetes.io/limit-ranger"], "LimitRanger plugin set: cpu request for container a; cpu limit for container a"; got != want {
		t.Errorf("annotation %q, want %q", got, want)
	}
}
