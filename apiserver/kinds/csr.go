package kinds

import (
	"fmt"
	"maps"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func certificateSigningRequestKind() *kind.Kind {
	p := partsOf(func(o *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequestSpec {
		return &o.Spec
	}, func(o *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequestStatus {
		return &o.Status
	})
	doc := certificatesv1.CertificateSigningRequestSpec{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"),
		Plural:        "certificatesigningrequests",
		Singular:      "certificatesigningrequest",
		ShortNames:    []string{"csr"},
		StoragePrefix: "certificatesigningrequests",
		New:           func() txn.Object { return &certificatesv1.CertificateSigningRequest{} },
		NewList:       func() runtime.Object { return &certificatesv1.CertificateSigningRequestList{} },
		Prepare: prepare(func(o, old *certificatesv1.CertificateSigningRequest) {
			// A request is written once; what becomes of it has paths of its own.
			p.withoutStatus(o, untyped(old))
			if old != nil {
				o.Spec = old.Spec
			}
		}),
		Subresources: map[string]kind.Subresource{
			"status": p.statusSubresource(checkCSRStatus),
			"approval": {
				Verbs: []string{"get", "patch", "update"}, Set: approveCSR, Prepare: p.onlyStatus, Validate: validate(checkCSRApproval),
				Get: func(o txn.Object) (txn.Object, error) { return o, nil },
			},
		},
		Fields: map[string]func(txn.Object) string{
			"spec.signerName": text(func(o *certificatesv1.CertificateSigningRequest) string { return o.Spec.SignerName }),
		},
		Validate: validate(checkCSR),
		Name:     rbacName,
		Columns: []column{
			nameColumn(), ageColumn(), str("SignerName", doc["signerName"]), str("Requestor", doc["username"]),
			str("RequestedDuration", doc["expirationSeconds"]),
			str("Condition", certificatesv1.CertificateSigningRequestStatus{}.SwaggerDoc()["conditions"]),
		},
		Row: row(csrRow),
	}
}

func csrRow(o *certificatesv1.CertificateSigningRequest, now time.Time) []any {
	requested := none
	if s := o.Spec.ExpirationSeconds; s != nil {
		requested = human(time.Duration(*s) * time.Second)
	}
	return []any{o.Name, age(o, now), o.Spec.SignerName, o.Spec.Username, requested, csrStatusText(o)}
}

func csrStatusText(o *certificatesv1.CertificateSigningRequest) string {
	has := map[certificatesv1.RequestConditionType]bool{}
	for _, c := range o.Status.Conditions {
		has[c.Type] = true
	}
	status := "Pending"
	if has[certificatesv1.CertificateDenied] {
		status = "Denied"
	} else if has[certificatesv1.CertificateApproved] {
		status = "Approved"
	}
	if has[certificatesv1.CertificateFailed] {
		status += ",Failed"
	}
	if len(o.Status.Certificate) > 0 {
		status += ",Issued"
	}
	return status
}

// approveCSR takes the conditions, labels and annotations and nothing else from
// what is written.
func approveCSR(o, parameter txn.Object, now time.Time) (txn.Object, error) {
	written, ok := parameter.(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a CertificateSigningRequest, got %T", parameter))
	}
	c := o.DeepCopyObject().(*certificatesv1.CertificateSigningRequest)
	c.ResourceVersion, c.ManagedFields = written.ResourceVersion, written.ManagedFields
	c.Labels, c.Annotations = maps.Clone(written.Labels), maps.Clone(written.Annotations)
	c.Status.Conditions = written.DeepCopy().Status.Conditions
	for i := range c.Status.Conditions {
		condition := &c.Status.Conditions[i]
		if condition.LastUpdateTime.IsZero() {
			condition.LastUpdateTime = metav1.Time{Time: now}
		}
		if condition.LastTransitionTime.IsZero() {
			condition.LastTransitionTime = metav1.Time{Time: now}
		}
	}
	return c, nil
}
