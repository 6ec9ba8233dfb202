package expression_test

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/headway-sh/headway/apiserver/expression"
)

var spec = &admissionv1.ValidatingAdmissionPolicySpec{
	Variables: []admissionv1.Variable{{Name: "images", Expression: "object.spec.containers.map(c, c.image)"}},
	Validations: []admissionv1.Validation{
		{Expression: "variables.images.all(i, i.startsWith('example.com/'))", MessageExpression: "'foreign image in ' + object.metadata.name"},
		{Expression: "!has(object.spec.hostNetwork) || !object.spec.hostNetwork"},
	},
}

func pod(image string) *admission.VersionedAttributes {
	o := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: image}, {Name: "b", Image: image}}}}
	gvk := corev1.SchemeGroupVersion.WithKind("Pod")
	a := &admission.VersionedAttributes{VersionedKind: gvk, Attributes: admission.NewAttributesRecord(o, nil, gvk, "shop", "p",
		corev1.SchemeGroupVersion.WithResource("pods"), "", admission.Create, &metav1.CreateOptions{}, false, &user.DefaultInfo{Name: "ada"})}
	a.VersionedObject.Set(o)
	return a
}

func TestPolicyOnPod(t *testing.T) {
	t.Parallel()
	p := expression.CompilePolicy(spec)
	denials, _ := p.Evaluate(t.Context(), expression.Input{Attributes: pod("example.com/web:1"), Resource: corev1.SchemeGroupVersion.WithResource("pods")})
	if len(denials) > 0 {
		t.Errorf("denied: %+v", denials)
	}
	denials, _ = p.Evaluate(t.Context(), expression.Input{Attributes: pod("other.example/web:1"), Resource: corev1.SchemeGroupVersion.WithResource("pods")})
	if len(denials) != 1 || denials[0].Message != "foreign image in p" || denials[0].Reason != metav1.StatusReasonInvalid {
		t.Errorf("denied: %+v", denials)
	}
}

func BenchmarkCompilePolicy(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		expression.CompilePolicy(spec)
	}
}

func BenchmarkEvaluatePolicy(b *testing.B) {
	p, in := expression.CompilePolicy(spec), expression.Input{Resource: corev1.SchemeGroupVersion.WithResource("pods")}
	b.ReportAllocs()
	for b.Loop() {
		in.Attributes = pod("example.com/web:1")
		if denials, _ := p.Evaluate(b.Context(), in); len(denials) > 0 {
			b.Fatal(denials)
		}
	}
}
