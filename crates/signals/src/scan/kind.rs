//! The closed words of the scan: what a finding is, which of the two categories it belongs to, and what confirmed it.
//! Nothing here recognises anything.

use std::{fmt, sync::Arc};

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// Says who somebody is, or how to reach, find or pay them.
    PersonalData,
    /// Opens something for whoever holds it.
    Secret,
    /// Names somebody or something by the words around it alone: advice of the tagger, which counts as neither of the others.
    Entity,
}

impl Category {
    /// Its word in configuration and facts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PersonalData => "personal_data",
            Self::Secret => "secret",
            Self::Entity => "entity",
        }
    }

    /// The category with this word, of those that the scan finds.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::PersonalData, Self::Secret].into_iter().find(|category| category.as_str() == word)
    }
}

/// A kind that the configuration added.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CustomKind {
    name: Arc<str>,
    category: Category,
}

impl CustomKind {
    pub(crate) fn new(name: &str, category: Category) -> Self {
        Self { name: name.into(), category }
    }
}

impl fmt::Debug for CustomKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident $word:literal $category:ident,)*) => {
        /// What was found: one of a closed list, or a kind that the configuration added.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
            /// A recogniser of the configuration.
            Custom(CustomKind),
        }

        impl Kind {
            /// Every kind but the custom ones.
            pub const BUILT_IN: &'static [Kind] = &[$(Kind::$variant,)*];

            /// Its word in configuration, facts and metrics; of a custom kind the configured name.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Kind::$variant => $word,)*
                    Kind::Custom(custom) => &custom.name,
                }
            }

            /// Personal data or a secret.
            pub fn category(&self) -> Category {
                match self {
                    $(Kind::$variant => Category::$category,)*
                    Kind::Custom(custom) => custom.category,
                }
            }
        }
    };
}

kinds! {
    /// An e-mail address, also written with `[at]`.
    Email "email" PersonalData,
    /// A telephone number, with its extension.
    Phone "phone" PersonalData,
    /// The number of a payment card.
    PaymentCard "payment_card" PersonalData,
    /// An international bank account number.
    Iban "iban" PersonalData,
    /// A social security number of the United States.
    UsSsn "us_ssn" PersonalData,
    /// An individual taxpayer identification number of the United States.
    UsItin "us_itin" PersonalData,
    /// A national insurance number of the United Kingdom.
    UkNino "uk_nino" PersonalData,
    /// A number of the National Health Service.
    UkNhs "uk_nhs" PersonalData,
    /// A French social security number (NIR, INSEE).
    FrNir "fr_nir" PersonalData,
    /// A German tax identification number.
    DeSteuerId "de_steuer_id" PersonalData,
    /// A Spanish national identity number.
    EsDni "es_dni" PersonalData,
    /// A Spanish identity number of a foreigner.
    EsNie "es_nie" PersonalData,
    /// An Italian fiscal code.
    ItCodiceFiscale "it_codice_fiscale" PersonalData,
    /// An Indian Aadhaar number.
    InAadhaar "in_aadhaar" PersonalData,
    /// A Brazilian CPF.
    BrCpf "br_cpf" PersonalData,
    /// A Chinese resident identity number.
    CnResidentId "cn_resident_id" PersonalData,
    /// The number of a passport, beside a word that says so.
    Passport "passport" PersonalData,
    /// The number of a driving licence, beside a word that says so.
    DrivingLicence "driving_licence" PersonalData,
    /// An IPv4 or IPv6 address.
    IpAddress "ip_address" PersonalData,
    /// A hardware address.
    MacAddress "mac_address" PersonalData,
    /// A latitude with a longitude.
    Coordinates "coordinates" PersonalData,
    /// An address of a cryptocurrency.
    CryptoAddress "crypto_address" PersonalData,
    /// A date of birth, beside a word that says so.
    DateOfBirth "date_of_birth" PersonalData,
    /// An access key of Amazon Web Services.
    AwsKey "aws_key" Secret,
    /// A key or token of Google.
    GoogleKey "google_key" Secret,
    /// A key or client secret of Azure.
    AzureKey "azure_key" Secret,
    /// A token of GitHub.
    GithubToken "github_token" Secret,
    /// A token of GitLab.
    GitlabToken "gitlab_token" Secret,
    /// A token or webhook of Slack.
    SlackToken "slack_token" Secret,
    /// A secret key of Stripe.
    StripeKey "stripe_key" Secret,
    /// A key of OpenAI, or of a service that writes its keys alike.
    OpenaiKey "openai_key" Secret,
    /// A key of Anthropic.
    AnthropicKey "anthropic_key" Secret,
    /// A token of Hugging Face.
    HuggingfaceToken "huggingface_token" Secret,
    /// A token of npm.
    NpmToken "npm_token" Secret,
    /// A token of PyPI.
    PypiToken "pypi_token" Secret,
    /// A key of Twilio.
    TwilioKey "twilio_key" Secret,
    /// A key of SendGrid.
    SendgridKey "sendgrid_key" Secret,
    /// The token of a Telegram bot.
    TelegramBotToken "telegram_bot_token" Secret,
    /// A key of another service, by its published shape.
    ApiKey "api_key" Secret,
    /// A private key in PEM or PuTTY's format.
    PrivateKey "private_key" Secret,
    /// A signed or encrypted JSON web token.
    Jwt "jwt" Secret,
    /// An address with a password in it.
    ConnectionString "connection_string" Secret,
    /// A password beside a word that says so.
    Password "password" Secret,
    /// A random-looking value where a key or token is named.
    HighEntropy "high_entropy" Secret,
    /// A name of a person; of the tagger, not of the scan.
    Person "person" Entity,
    /// A postal address; of the tagger, not of the scan.
    Address "address" Entity,
    /// A company, an authority, a school; of the tagger, not of the scan.
    Organisation "organisation" Entity,
    /// A number that somebody is known by: of a customer, a patient, a case; of the tagger, not of the scan.
    Identifier "identifier" Entity,
}

impl Kind {
    /// The built-in kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::BUILT_IN.iter().find(|kind| kind.as_str() == word).cloned()
    }
}

macro_rules! validators {
    ($($(#[$doc:meta])* $variant:ident $word:literal $strength:literal,)*) => {
        /// What confirmed a finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Validator {
            $($(#[$doc])* $variant,)*
        }

        impl Validator {
            /// Its word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Of overlapping findings the one with the greater strength names the kind.
            pub(crate) fn strength(self) -> u8 {
                match self { $(Self::$variant => $strength,)* }
            }
        }
    };
}

validators! {
    /// The Luhn checksum, with a known prefix and length.
    Luhn "luhn" 3,
    /// ISO 7064 mod 97-10.
    Mod97 "mod97" 3,
    /// Verhoeff's checksum.
    Verhoeff "verhoeff" 3,
    /// Another check digit or check letter.
    CheckDigit "check_digit" 3,
    /// Base58 with a double SHA-256 checksum.
    Base58Check "base58check" 3,
    /// Bech32 or Bech32m.
    Bech32 "bech32" 3,
    /// The mixed-case checksum of EIP-55.
    Eip55 "eip55" 3,
    /// A published prefix, alphabet and length.
    Shape "shape" 3,
    /// A JSON header that names an algorithm.
    JsonHeader "json_header" 3,
    /// A grammar without a checksum.
    Grammar "grammar" 2,
    /// Words around it.
    Context "context" 1,
    /// Its entropy, where a key is named.
    Entropy "entropy" 1,
    /// The pattern of a custom recogniser.
    Pattern "pattern" 2,
}
