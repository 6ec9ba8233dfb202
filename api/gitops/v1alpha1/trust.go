package v1alpha1

// VerificationMode is what must be signed.
// +enum
type VerificationMode string

const (
	// VerifyHead wants the signature of the commit that is followed.
	VerifyHead VerificationMode = "head"
	// VerifyTag wants the signature of the annotated tag that is followed.
	VerifyTag VerificationMode = "tag"
	// VerifyTagAndHead wants both.
	VerifyTagAndHead VerificationMode = "tagAndHead"
)

// VerificationSpec says whose commits are applied.
type VerificationSpec struct {
	// Mode is head (the default), tag or tagAndHead. The latter two need a ref
	// that is a tag or a range of versions.
	// +optional
	Mode VerificationMode `json:"mode,omitempty"`
	// Signers are whose signatures count. A set without a path counts for
	// everything that no set with a path is for. With sets that have a path,
	// every new commit must be signed, by somebody of the sets of each file
	// that it changes.
	// +listType=atomic
	Signers []SignerSet `json:"signers"`
}

// SignerSet is a group of people who may sign.
type SignerSet struct {
	// Path is the directory whose files the set is for; the deepest one counts.
	// Empty: everything.
	// +optional
	Path string `json:"path,omitempty"`
	// SecretRef names a Secret with public keys. Each of its entries is a PGP
	// keyring or a list of allowed signers as of ssh-keygen.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`
	// ConfigMapRef names a ConfigMap with the same.
	// +optional
	ConfigMapRef *ConfigMapReference `json:"configMapRef,omitempty"`
	// Names, when given, are the only ones of the keys' owners that count:
	// principals of allowed signers, e-mail addresses or fingerprints of PGP
	// keys.
	// +optional
	// +listType=atomic
	Names []string `json:"names,omitempty"`
}

// ConfigMapReference names a ConfigMap.
type ConfigMapReference struct {
	// Namespace of the ConfigMap.
	Namespace string `json:"namespace"`
	// Name of the ConfigMap.
	Name string `json:"name"`
}

// WebhookType is who tells of pushes.
// +enum
type WebhookType string

const (
	// WebhookGitHub is GitHub: an HMAC in X-Hub-Signature-256.
	WebhookGitHub WebhookType = "github"
	// WebhookGitLab is GitLab: the secret itself in X-Gitlab-Token.
	WebhookGitLab WebhookType = "gitlab"
	// WebhookGitea is Gitea or Forgejo: an HMAC in X-Gitea-Signature or
	// X-Forgejo-Signature.
	WebhookGitea WebhookType = "gitea"
	// WebhookGeneric is anybody else, by the Standard Webhooks specification:
	// an HMAC over webhook-id, webhook-timestamp and body in webhook-signature.
	WebhookGeneric WebhookType = "generic"
)

// WebhookSpec says who tells of pushes and how he shows that it is he.
type WebhookSpec struct {
	// Type is github, gitlab, gitea or generic.
	Type WebhookType `json:"type"`
	// SecretRef names a Secret whose key "token" is what both sides know.
	SecretRef SecretReference `json:"secretRef"`
}
