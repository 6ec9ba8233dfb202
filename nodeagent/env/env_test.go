package env_test

import (
	"context"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/nodeagent/env"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	values := map[string]string{"A": "1", "B": "$(A)"}
	for in, want := range map[string]string{
		"": "", "x": "x", "$(A)": "1", "a$(A)b$(A)": "a1b1", "$$(A)": "$(A)", "$(B)": "$(A)",
		"$(C)": "$(C)", "$(A": "$(A", "$A": "$A", "$": "$", "$$$(A)": "$1", "100%$": "100%$",
	} {
		if got := env.Expand(in, values); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

type source struct{}

func (source) File(string, string) ([]byte, error) { return nil, fs.ErrNotExist }

func (source) ConfigMap(_ context.Context, name string) (*corev1.ConfigMap, error) {
	if name != "cm" {
		return nil, apierrors.NewNotFound(corev1.Resource("configmaps"), name)
	}
	return &corev1.ConfigMap{Data: map[string]string{"K": "v", "bad=name": "x"}}, nil
}

func (source) Secret(_ context.Context, name string) (*corev1.Secret, error) {
	if name != "s" {
		return nil, apierrors.NewNotFound(corev1.Resource("secrets"), name)
	}
	return &corev1.Secret{Data: map[string][]byte{"P": []byte("w")}}, nil
}

func TestBuild(t *testing.T) {
	t.Parallel()
	yes := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", Labels: map[string]string{"app": "web"}}}
	c := corev1.Container{
		Name:    "c",
		EnvFrom: []corev1.EnvFromSource{{Prefix: "X_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}},
		Env: []corev1.EnvVar{
			{Name: "A", Value: "$(X_K)-$(SVC)"},
			{Name: "SVC", Value: "over"},
			{Name: "L", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}},
			{Name: "P", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "P"}}},
			{Name: "NONE", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "t"}, Key: "P", Optional: &yes}}},
			{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
		},
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m")}},
	}
	pod.Spec.Containers = []corev1.Container{c}
	got, err := env.Build(t.Context(), env.Facts{Pod: pod}, &c, map[string]string{"SVC": "10.0.0.1"}, source{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"A=v-10.0.0.1", "CPU=2", "L=web", "P=w", "SVC=over", "X_K=v"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c.Env[4].ValueFrom.SecretKeyRef.Optional = nil
	if _, err := env.Build(t.Context(), env.Facts{Pod: pod}, &c, nil, source{}); !apierrors.IsNotFound(err) {
		t.Errorf("a missing secret: %v", err)
	}
}
