package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/headway-sh/headway/api/txn"
)

// Limits of a service account token's life, as the TokenRequest API has them.
const (
	DefaultTokenLifetime = time.Hour
	MinTokenLifetime     = 10 * time.Minute
	MaxTokenLifetime     = 24 * time.Hour * 365
	verifiedTokens       = 4096
)

var (
	serviceAccounts = schema.GroupResource{Resource: "serviceaccounts"}
	pods            = schema.GroupResource{Resource: "pods"}
	nodes           = schema.GroupResource{Resource: "nodes"}
)

// ServiceAccountTokens signs and verifies service account tokens (JWT, ES256)
// bound to an account and maybe to a pod, Secret or node.
type ServiceAccountTokens struct {
	issuer    string
	audiences []string
	key       crypto.Signer
	keyID     string
	clock     clock.PassiveClock
	parser    *jwt.Parser
	// verified remembers tokens whose signature was good, by their digest;
	// everything that may change is checked every time.
	verified *lru.Cache
}

// NewServiceAccountTokens returns the issuer. The first audience is the API
// server's own; key is an ECDSA P-256 key.
func NewServiceAccountTokens(issuer string, audiences []string, key crypto.Signer, clock clock.PassiveClock) (*ServiceAccountTokens, error) {
	public, ok := key.Public().(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("service account key: a %T is no ECDSA key", key.Public())
	}
	raw, err := public.Bytes()
	if err != nil {
		return nil, fmt.Errorf("service account key: %w", err)
	}
	sum := sha256.Sum256(raw)
	return &ServiceAccountTokens{
		issuer: issuer, audiences: audiences, key: key, clock: clock,
		keyID:    base64.RawURLEncoding.EncodeToString(sum[:]),
		parser:   jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithoutClaimsValidation()),
		verified: lru.New(verifiedTokens),
	}, nil
}

type objectClaim struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
}

type boundClaim struct {
	Namespace      string       `json:"namespace"`
	ServiceAccount objectClaim  `json:"serviceaccount"`
	Pod            *objectClaim `json:"pod,omitempty"`
	Secret         *objectClaim `json:"secret,omitempty"`
	Node           *objectClaim `json:"node,omitempty"`
}

type claims struct {
	jwt.RegisteredClaims
	Bound boundClaim `json:"kubernetes.io"`
}

// Issue answers a TokenRequest for an account. It fills the request's status;
// errors are API statuses. Who may ask has been authorized before.
func (s *ServiceAccountTokens) Issue(view txn.View, namespace, name string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	account, ok := view.Get(txn.Ref{Resource: serviceAccounts, Namespace: namespace, Name: name})
	if !ok {
		return nil, apierrors.NewNotFound(serviceAccounts, name)
	}
	lifetime := DefaultTokenLifetime
	if seconds := request.Spec.ExpirationSeconds; seconds != nil {
		lifetime = time.Duration(*seconds) * time.Second
	}
	if lifetime < MinTokenLifetime {
		return nil, apierrors.NewBadRequest("spec.expirationSeconds: may not specify a duration less than 10 minutes")
	}
	lifetime = min(lifetime, MaxTokenLifetime)
	bound := boundClaim{Namespace: namespace, ServiceAccount: objectClaim{Name: name, UID: account.GetUID()}}
	if err := bind(view, &bound, name, request.Spec.BoundObjectRef); err != nil {
		return nil, err
	}
	audiences := request.Spec.Audiences
	if len(audiences) == 0 {
		audiences = s.audiences
	}
	now := s.clock.Now()
	expires := now.Add(lifetime)
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.issuer, Subject: userServiceAccount + namespace + ":" + name, Audience: audiences,
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
			ID: string(uuid.NewUUID()),
		},
		Bound: bound,
	})
	token.Header["kid"] = s.keyID
	signed, err := token.SignedString(s.key)
	if err != nil {
		return nil, fmt.Errorf("sign token for %s/%s: %w", namespace, name, err)
	}
	out := request.DeepCopy()
	out.Spec.Audiences = audiences
	seconds := int64(lifetime / time.Second)
	out.Spec.ExpirationSeconds = &seconds
	out.Status = authenticationv1.TokenRequestStatus{Token: signed, ExpirationTimestamp: metav1.NewTime(expires.Truncate(time.Second))}
	return out, nil
}

// bind writes the object that the token lives and dies with into the claim.
func bind(view txn.View, bound *boundClaim, account string, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	resource := map[string]schema.GroupResource{"Pod": pods, "Secret": secrets, "Node": nodes}[ref.Kind]
	if resource.Resource == "" || ref.APIVersion != "v1" {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to type %s/%s: unsupported", account, ref.APIVersion, ref.Kind))
	}
	namespace := bound.Namespace
	if ref.Kind == "Node" {
		namespace = ""
	}
	o, ok := view.Get(txn.Ref{Resource: resource, Namespace: namespace, Name: ref.Name})
	if !ok {
		return apierrors.NewNotFound(resource, ref.Name)
	}
	if ref.UID != "" && ref.UID != o.GetUID() {
		return apierrors.NewConflict(resource, ref.Name, fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	claim := &objectClaim{Name: ref.Name, UID: o.GetUID()}
	switch ref.Kind {
	case "Pod":
		pod := o.(*corev1.Pod)
		if pod.Spec.ServiceAccountName != account {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account))
		}
		bound.Pod = claim
		if pod.Spec.NodeName != "" {
			bound.Node = &objectClaim{Name: pod.Spec.NodeName}
			if node, ok := view.Get(txn.Ref{Resource: nodes, Name: pod.Spec.NodeName}); ok {
				bound.Node.UID = node.GetUID()
			}
		}
	case "Secret":
		bound.Secret = claim
	case "Node":
		bound.Node = claim
	}
	return nil
}

// Verify returns the account that a token speaks for, and those of the
// audiences that it is meant for. The token must be signed by this issuer, be
// in its time, be meant for one of the audiences (nil: the API server's own),
// and the account and what it is bound to must still exist.
func (s *ServiceAccountTokens) Verify(view txn.View, token string, audiences []string) (txn.Identity, []string, error) {
	c, err := s.signed(token)
	if err != nil {
		return txn.Identity{}, nil, err
	}
	now := s.clock.Now()
	switch {
	case c.Issuer != s.issuer:
		return txn.Identity{}, nil, errors.New("service account token: wrong issuer")
	case c.ExpiresAt == nil || !now.Before(c.ExpiresAt.Time):
		return txn.Identity{}, nil, errors.New("service account token: expired")
	case c.NotBefore != nil && now.Add(time.Minute).Before(c.NotBefore.Time):
		return txn.Identity{}, nil, errors.New("service account token: not valid yet")
	case c.Subject != userServiceAccount+c.Bound.Namespace+":"+c.Bound.ServiceAccount.Name:
		return txn.Identity{}, nil, errors.New("service account token: its subject is another account")
	}
	if audiences == nil {
		audiences = s.audiences
	}
	meant := common(audiences, c.Audience)
	if len(meant) == 0 {
		return txn.Identity{}, nil, errOtherAudience
	}
	id, err := s.living(view, c)
	return id, meant, err
}

// Issued tells whether a token says that it comes from this issuer, which
// Verify then believes or not.
func (s *ServiceAccountTokens) Issued(token string) bool {
	var c jwt.RegisteredClaims
	_, _, err := s.parser.ParseUnverified(token, &c)
	return err == nil && c.Issuer == s.issuer
}

// signed returns the claims of a token whose signature is good.
func (s *ServiceAccountTokens) signed(token string) (*claims, error) {
	digest := sha256.Sum256([]byte(token))
	if c, ok := s.verified.Get(digest); ok {
		return c.(*claims), nil
	}
	c := &claims{}
	if _, err := s.parser.ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return s.key.Public(), nil }); err != nil {
		return nil, fmt.Errorf("service account token: %w", err)
	}
	s.verified.Add(digest, c)
	return c, nil
}

// living checks on the View that account and bound objects are those that the
// token was made for.
func (s *ServiceAccountTokens) living(view txn.View, c *claims) (txn.Identity, error) {
	b := c.Bound
	check := func(resource schema.GroupResource, namespace string, claim *objectClaim) error {
		if claim == nil {
			return nil
		}
		o, ok := view.Get(txn.Ref{Resource: resource, Namespace: namespace, Name: claim.Name})
		if !ok || o.GetUID() != claim.UID {
			return fmt.Errorf("service account token: its %s %q is gone", resource.Resource, claim.Name)
		}
		return nil
	}
	err := errors.Join(check(serviceAccounts, b.Namespace, &b.ServiceAccount), check(pods, b.Namespace, b.Pod), check(secrets, b.Namespace, b.Secret))
	if b.Pod == nil {
		err = errors.Join(err, check(nodes, "", b.Node))
	}
	if err != nil {
		return txn.Identity{}, err
	}
	id := ServiceAccount(b.Namespace, b.ServiceAccount.Name)
	id.UID = string(b.ServiceAccount.UID)
	id.Extra = map[string][]string{credentialID: {"JTI=" + c.ID}}
	if b.Pod != nil {
		id.Extra["authentication.kubernetes.io/pod-name"] = []string{b.Pod.Name}
		id.Extra["authentication.kubernetes.io/pod-uid"] = []string{string(b.Pod.UID)}
	}
	if b.Node != nil {
		id.Extra["authentication.kubernetes.io/node-name"] = []string{b.Node.Name}
		id.Extra["authentication.kubernetes.io/node-uid"] = []string{string(b.Node.UID)}
	}
	return id, nil
}

// ServiceAccount is the identity of an account, as for components in process.
func ServiceAccount(namespace, name string) txn.Identity {
	return txn.Identity{
		Name:   userServiceAccount + namespace + ":" + name,
		Groups: []string{GroupServiceAccounts, GroupServiceAccounts + ":" + namespace, GroupAuthenticated},
	}
}

// KeySet is the JSON Web Key Set that others verify tokens with.
func (s *ServiceAccountTokens) KeySet() ([]byte, error) {
	raw, err := s.key.Public().(*ecdsa.PublicKey).Bytes()
	if err != nil {
		return nil, err
	}
	half := (len(raw) - 1) / 2 // raw is 0x04, X, Y
	return json.Marshal(map[string]any{"keys": []map[string]string{{
		"use": "sig", "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": s.keyID,
		"x": base64.RawURLEncoding.EncodeToString(raw[1 : 1+half]),
		"y": base64.RawURLEncoding.EncodeToString(raw[1+half:]),
	}}})
}

// Configuration is the OpenID discovery document; keySetURL is where KeySet is served.
func (s *ServiceAccountTokens) Configuration(keySetURL string) ([]byte, error) {
	return json.Marshal(map[string]any{
		"issuer":                                s.issuer,
		"jwks_uri":                              keySetURL,
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"},
	})
}
