package admission

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/write"
)

var requestsResource = schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}

// certificateRequester writes into a new certificate request who asks for it:
// what approvers decide by, so the request's own word counts for nothing. It
// refuses certificates that would make their holder a master of the cluster:
// those are not under any role's control.
func certificateRequester() write.Step {
	return write.Step{
		Name: "CertificateRequester",
		Mutate: func(_ context.Context, _ txn.View, r *write.Request) error {
			if !creates(r, requestsResource) {
				return nil
			}
			s := &r.Object.(*certificatesv1.CertificateSigningRequest).Spec
			s.Username, s.UID, s.Groups, s.Extra = r.Identity.Name, r.Identity.UID, slices.Clone(r.Identity.Groups), nil
			if len(r.Identity.Extra) > 0 {
				s.Extra = map[string]certificatesv1.ExtraValue{}
				for key, values := range r.Identity.Extra {
					s.Extra[key] = slices.Clone(values)
				}
			}
			return nil
		},
		Validate: func(_ context.Context, _ txn.View, r *write.Request) error {
			if !creates(r, requestsResource) {
				return nil
			}
			s := &r.Object.(*certificatesv1.CertificateSigningRequest).Spec
			if s.SignerName == certificatesv1.KubeAPIServerClientSignerName && asksForMasters(s.Request) {
				return forbidden(r, "use of %s signer with system:masters group is not allowed", s.SignerName)
			}
			return nil
		},
	}
}

func asksForMasters(request []byte) bool {
	block, _ := pem.Decode(request)
	if block == nil {
		return false
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	return err == nil && slices.Contains(parsed.Subject.Organization, "system:masters")
}

// signers lets only those decide about a certificate request, or sign it, who
// may do so for its signer: RBAC names signers as objects, one by one or a
// whole domain.
func signers() write.Step {
	resource := schema.GroupResource{Group: requestsResource.Group, Resource: "signers"}
	return write.Step{Name: "CertificateSigners", Validate: func(_ context.Context, view txn.View, r *write.Request) error {
		if r.Ref.Resource != requestsResource {
			return nil
		}
		o, ok := r.Object.(*certificatesv1.CertificateSigningRequest)
		old, was := r.Old.(*certificatesv1.CertificateSigningRequest)
		verb := ""
		switch {
		case !ok || !was:
			return nil
		case r.Subresource == "approval":
			verb = "approve"
		case r.Subresource == "status" && !equality.Semantic.DeepEqual(o.Status.Certificate, old.Status.Certificate):
			verb = "sign"
		default:
			return nil
		}
		name := old.Spec.SignerName
		domain, _, _ := strings.Cut(name, "/")
		if authorized(view, r, verb, resource, "", name) || authorized(view, r, verb, resource, "", domain+"/*") {
			return nil
		}
		return forbidden(r, "user not permitted to %s requests with signerName %q", verb, name)
	}}
}
