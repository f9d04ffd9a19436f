"""Apache httpd: an authorizer over FastCGI, and sections that inherit, replace and add up."""
