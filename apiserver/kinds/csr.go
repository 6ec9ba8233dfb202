package kinds

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func certificateSigningRequestKind() *kind.Kind {
	doc := certificatesv1.CertificateSigningRequestSpec{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"),
		Plural:        "certificatesigningrequests",
		Singular:      "certificatesigningrequest",
		ShortNames:    []string{"csr"},
		StoragePrefix: "certificatesigningrequests",
		New:           func() txn.Object { return &certificatesv1.CertificateSigningRequest{} },
		NewList:       func() runtime.Object { return &certificatesv1.CertificateSigningRequestList{} },
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
