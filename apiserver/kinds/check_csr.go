package kinds

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var keyUsages = []certificatesv1.KeyUsage{
	certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment,
	certificatesv1.UsageKeyEncipherment, certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment,
	certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign, certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly,
	certificatesv1.UsageAny, certificatesv1.UsageServerAuth, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME, certificatesv1.UsageIPsecEndSystem,
	certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping,
	certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC,
}

// checkCSR checks a new request; later writes cannot touch its spec.
func checkCSR(o, old *certificatesv1.CertificateSigningRequest) fieldErrors {
	c := &checker{}
	if old != nil {
		return nil
	}
	p, s := field.NewPath("spec"), &o.Spec
	if err := parseRequest(s.Request); err != "" {
		c.invalid(p.Child("request"), s.Request, err)
	}
	if len(s.Usages) == 0 {
		c.required(p.Child("usages"), "")
	}
	var usages nameSet
	for i, u := range s.Usages {
		if !slices.Contains(keyUsages, u) {
			c.add(field.NotSupported(p.Child("usages").Index(i), u, slices.Sorted(slices.Values(keyUsages))))
		} else if !usages.add(string(u)) {
			c.add(field.Duplicate(p.Child("usages").Index(i), u))
		}
	}
	c.signerName(p.Child("signerName"), s.SignerName)
	if e := s.ExpirationSeconds; e != nil && *e < 600 {
		c.invalid(p.Child("expirationSeconds"), *e, "may not specify a duration less than 600 seconds (10 minutes)")
	}
	return c.errs
}

// parseRequest says what keeps the bytes from being a signed request, if
// anything does.
func parseRequest(b []byte) string {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return "PEM block type must be CERTIFICATE REQUEST"
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err.Error()
	}
	if err := request.CheckSignature(); err != nil {
		return err.Error()
	}
	return ""
}

func (c *checker) signerName(p *path, name string) {
	if name == "" {
		c.required(p, "")
		return
	}
	domain, rest, ok := strings.Cut(name, "/")
	if !ok || rest == "" {
		c.invalid(p, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
		return
	}
	for _, m := range validation.IsDNS1123Subdomain(domain) {
		c.invalid(p, name, "validating label \""+domain+"\": "+m)
	}
	for label := range strings.SplitSeq(rest, ".") {
		for _, m := range validation.IsDNS1123Label(label) {
			c.invalid(p, name, "validating label \""+label+"\": "+m)
		}
	}
}

func checkCSRApproval(o, old *certificatesv1.CertificateSigningRequest) fieldErrors {
	c := &checker{}
	c.csrConditions(o)
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		if was := csrCondition(old, t); was != nil && csrCondition(o, t) == nil {
			c.forbidden(field.NewPath("status", "conditions"), "updates may not remove a condition of type \""+string(t)+"\"")
		}
	}
	return c.errs
}

func checkCSRStatus(o, old *certificatesv1.CertificateSigningRequest) fieldErrors {
	c := &checker{}
	p := field.NewPath("status")
	c.csrConditions(o)
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		now, was := csrCondition(o, t), csrCondition(old, t)
		if now != nil && was == nil {
			c.forbidden(p.Child("conditions"), "updates may not add a condition of type \""+string(t)+"\"")
		} else if now == nil && was != nil {
			c.forbidden(p.Child("conditions"), "updates may not remove a condition of type \""+string(t)+"\"")
		}
	}
	if len(old.Status.Certificate) > 0 && !equality.Semantic.DeepEqual(o.Status.Certificate, old.Status.Certificate) {
		c.invalid(p.Child("certificate"), o.Status.Certificate, "updates may not set certificate content once it is set")
	} else if len(o.Status.Certificate) > 0 {
		if block, _ := pem.Decode(o.Status.Certificate); block == nil || block.Type != "CERTIFICATE" {
			c.invalid(p.Child("certificate"), "<certificate data>", "must contain at least one CERTIFICATE PEM block")
		}
	}
	return c.errs
}

func csrCondition(o *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequestCondition {
	for i := range o.Status.Conditions {
		if o.Status.Conditions[i].Type == t {
			return &o.Status.Conditions[i]
		}
	}
	return nil
}

func (c *checker) csrConditions(o *certificatesv1.CertificateSigningRequest) {
	var types nameSet
	for i := range o.Status.Conditions {
		condition := &o.Status.Conditions[i]
		p := field.NewPath("status", "conditions").Index(i)
		if condition.Type == "" {
			c.required(p.Child("type"), "")
		}
		if !types.add(string(condition.Type)) {
			c.add(field.Duplicate(p.Child("type"), condition.Type))
		}
		only := condition.Type == certificatesv1.CertificateApproved || condition.Type == certificatesv1.CertificateDenied ||
			condition.Type == certificatesv1.CertificateFailed
		switch {
		case condition.Status == "":
			c.required(p.Child("status"), "")
		case only && condition.Status != corev1.ConditionTrue:
			c.add(field.NotSupported(p.Child("status"), condition.Status, []corev1.ConditionStatus{corev1.ConditionTrue}))
		default:
			oneOf(c, p, "status", condition.Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)
		}
	}
	if csrCondition(o, certificatesv1.CertificateApproved) != nil && csrCondition(o, certificatesv1.CertificateDenied) != nil {
		c.invalid(field.NewPath("status", "conditions"), certificatesv1.CertificateDenied, "Approved and Denied conditions are mutually exclusive")
	}
}
